//! Proving a log: every line signed, every record after the one it names.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::Path,
};

use sync_core::wire::WITNESSED_MAX;

use super::{
    Said,
    line::{self, Body, Head, NOTHING_BEFORE, Read},
    segments::{self, SEGMENTS_MAX},
};
use crate::identity::NodeId;

/// What such a record has in its line.
const WITNESSED: &str = "\"event\":\"witnessed\"";

/// What is wrong with a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// A line is no record: it was damaged, or cut off by a kill.
    Damaged,
    /// A record is not signed by this node's key: it was changed, or is somebody
    /// else's.
    Foreign,
    /// Records are not there.
    Missing {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// A record stands where a later one belongs.
    Reordered,
    /// A record does not follow from the one before as that stands now.
    Unjoined,
    /// A peer has seen another record of this number.
    Rewritten {
        /// The peer.
        peer: String,
    },
    /// A peer has seen this record, and it is not there: the end was cut off.
    CutOff {
        /// The peer.
        peer: String,
    },
}

/// One thing that is wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The file below the state directory; empty where it is none of them.
    pub file: String,
    /// The line in it, from 1.
    pub line: u64,
    /// The number of the record, where it is known.
    pub record: Option<u64>,
    /// What is wrong.
    pub trouble: Trouble,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    /// Records that are signed.
    pub records: u64,
    /// The number of the first that is kept.
    pub first: Option<u64>,
    /// The newest.
    pub head: Option<Head>,
    /// What is wrong, in the order of the lines.
    pub findings: Vec<Finding>,
    /// The hash of each.
    hashes: BTreeMap<u64, String>,
}

/// Checks the whole log of the node whose id is `signer`.
///
/// # Errors
/// Where it cannot be read.
pub fn check(state_dir: &Path, signer: &NodeId) -> io::Result<Checked> {
    let numbers = segments::list(state_dir)?;
    let mut checking = Checking {
        oldest_may_be_gone: numbers.len() >= SEGMENTS_MAX,
        ..Checking::default()
    };
    for number in numbers {
        checking.file = segments::name(number);
        let bytes = segments::read(state_dir, number)?;
        let text = String::from_utf8_lossy(&bytes);
        // A line without an end is being written, or was cut off by a kill: the next
        // start ends it, and then it counts.
        let ended = text.rfind('\n').map_or(0, |end| end + 1);
        let text = &text[..ended];
        for (line, at) in text.lines().zip(1..) {
            checking.line = at;
            checking.take(line, signer);
        }
    }
    Ok(checking.checked)
}

/// Records that were heard of, oldest first, by the id of the peer.
pub type Witnessed = BTreeMap<String, VecDeque<Head>>;

/// Adds one, and forgets the oldest of too many.
pub fn remember(witnessed: &mut Witnessed, peer: String, head: Head) {
    let heads = witnessed.entry(peer).or_default();
    heads.push_back(head);
    if heads.len() > WITNESSED_MAX {
        heads.pop_front();
    }
}

/// How far the logs of the peers had come, by id, as this one has seen it. Reads no
/// other records.
///
/// # Errors
/// Where it cannot be read.
pub fn witnessed(state_dir: &Path, signer: &NodeId) -> io::Result<Witnessed> {
    let mut witnessed = Witnessed::new();
    for number in segments::list(state_dir)? {
        let bytes = segments::read(state_dir, number)?;
        let text = String::from_utf8_lossy(&bytes);
        for line in text.lines().filter(|line| line.contains(WITNESSED)) {
            if let Read::Signed(body) = line::read(line, signer)
                && let Said::Witnessed { peer, upto, hash } = body.said
            {
                remember(&mut witnessed, peer, Head { record: upto, hash });
            }
        }
    }
    Ok(witnessed)
}

#[derive(Default)]
struct Checking {
    checked: Checked,
    file: String,
    line: u64,
    oldest_may_be_gone: bool,
}

impl Checking {
    fn take(&mut self, line: &str, signer: &NodeId) {
        match line::read(line, signer) {
            Read::Malformed => self.found(None, Trouble::Damaged),
            Read::Foreign(body) => self.found(Some(body.record), Trouble::Foreign),
            Read::Signed(body) => self.join(&body, line::hash(line)),
        }
    }

    fn join(&mut self, body: &Body, hash: String) {
        let record = body.record;
        match &self.checked.head {
            None => self.begin(body),
            Some(head) if record <= head.record => {
                self.found(Some(record), Trouble::Reordered);
                return; // what follows is measured by the highest so far
            }
            Some(head) if record > head.record + 1 => {
                let (first, last) = (head.record + 1, record - 1);
                self.found(Some(record), Trouble::Missing { first, last });
            }
            Some(head) if head.hash != body.previous => {
                self.found(Some(record), Trouble::Unjoined);
            }
            Some(_) => {}
        }
        self.checked.records += 1;
        self.checked.hashes.insert(record, hash.clone());
        self.checked.head = Some(Head { record, hash });
    }

    /// The first record that is there: number 1, unless the oldest files went.
    fn begin(&mut self, body: &Body) {
        self.checked.first = Some(body.record);
        let begins = body.record == 1 && body.previous == NOTHING_BEFORE;
        if !begins && !self.oldest_may_be_gone {
            let last = body.record.saturating_sub(1);
            self.found(Some(body.record), Trouble::Missing { first: 1, last });
        }
    }

    fn found(&mut self, record: Option<u64>, trouble: Trouble) {
        self.checked.findings.push(Finding {
            file: self.file.clone(),
            line: self.line,
            record,
            trouble,
        });
    }
}

impl Checked {
    /// Compares with what a peer has seen of this log.
    pub fn compare(&mut self, peer: &str, seen: &Head) {
        let peer = peer.to_owned();
        let newest = self.head.as_ref().map_or(0, |head| head.record);
        let trouble = if seen.record > newest {
            Trouble::CutOff { peer }
        } else {
            match self.hashes.get(&seen.record) {
                Some(hash) if *hash != seen.hash => Trouble::Rewritten { peer },
                // Gone with the oldest files, or named as missing already.
                _ => return,
            }
        };
        self.findings.push(Finding {
            file: String::new(),
            line: 0,
            record: Some(seen.record),
            trouble,
        });
    }
}

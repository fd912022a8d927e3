//! Sections: what the plain bytes of a run of [`Block`]s mean.
//!
//! A generation's first section holds the change list and, behind it in the
//! same zstd stream, the contents that follow at once. Later sections hold
//! contents that were asked for; the section of a list holds a tree's entries.
//! Items stand one after another without separators; their number is announced
//! beforehand. A content is one status byte and, when present (1), exactly the
//! bytes that the change list says it has; when patched (2), their number and the
//! [`Step`](crate::patch::Step)s over what it replaces, cut finely; when gone (0),
//! nothing.

use std::collections::{HashSet, VecDeque};

use bincode::{Decode, Encode};

use crate::{
    blocks::Compressor,
    codec::{self, Malformed},
    content::ContentId,
    entry::Entry,
    generation::{Action, Change},
    limits::{ITEM_BYTES_MAX, SMALL_CONTENT_BYTES_MAX},
    path::RelPath,
    wire::Block,
};

const GONE: u8 = 0;
const PRESENT: u8 = 1;
const PATCHED: u8 = 2;

/// A content as it comes in a section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// It is gone, or no longer what the change list says.
    Gone,
    /// All its bytes.
    Whole(Vec<u8>),
    /// Encoded steps that make it of the content it replaces. Not before
    /// [`VERSION_OF_STEPS`](crate::wire::VERSION_OF_STEPS).
    Steps(Vec<u8>),
}

impl Content {
    /// Bytes it has here.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Gone => 0,
            Self::Whole(bytes) | Self::Steps(bytes) => bytes.len() as u64,
        }
    }
}

/// Writes one section.
#[derive(Default)]
pub struct SectionWriter {
    compressor: Compressor,
}

impl SectionWriter {
    /// An empty section.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next change of a change list.
    pub fn change(&mut self, change: &Change) -> Vec<Block> {
        self.item(change)
    }

    /// The next entry of a tree's list.
    pub fn entry(&mut self, path: &RelPath, entry: &Entry) -> Vec<Block> {
        self.item(&(path, entry))
    }

    /// The next content.
    pub fn content(&mut self, content: &Content) -> Vec<Block> {
        match content {
            Content::Gone => self.compressor.push(&[GONE]),
            Content::Whole(bytes) => {
                let mut blocks = self.compressor.push(&[PRESENT]);
                blocks.extend(self.compressor.push(bytes));
                blocks
            }
            Content::Steps(steps) => {
                let mut blocks = self.compressor.push(&[PATCHED]);
                blocks.extend(self.item(steps));
                blocks
            }
        }
    }

    /// What is gathered so far, for a sender that has to wait.
    pub fn flush(&mut self) -> Option<Block> {
        self.compressor.flush()
    }

    /// The block that ends the section.
    #[must_use]
    pub fn finish(self) -> Block {
        self.compressor.finish()
    }

    fn item(&mut self, item: &impl Encode) -> Vec<Block> {
        self.compressor.push(&codec::encode(item))
    }
}

/// Reads a change list of an announced number of changes.
pub type ChangeListReader = ItemReader<Change>;
/// Reads a tree's list of an announced number of entries.
pub type EntryListReader = ItemReader<(RelPath, Entry)>;

/// Reads an announced number of items; one may straddle blocks.
pub struct ItemReader<T> {
    left: u64,
    held: Vec<u8>,
    item: std::marker::PhantomData<T>,
}

impl<T: Decode<()>> ItemReader<T> {
    /// Expects `count` items.
    #[must_use]
    pub fn new(count: u64) -> Self {
        Self {
            left: count,
            held: Vec::new(),
            item: std::marker::PhantomData,
        }
    }

    /// The items that these plain bytes complete, in order.
    ///
    /// # Errors
    /// When the bytes are no such item, or an item is longer than any can be.
    pub fn push(&mut self, plain: &[u8]) -> Result<Vec<T>, Malformed> {
        self.held.extend_from_slice(plain);
        let mut items = Vec::new();
        let mut used = 0;
        while self.left > 0 {
            let rest = &self.held[used..];
            let Some((item, length)) = codec::decode_if_complete(rest)? else {
                check_item_length(rest.len())?;
                break;
            };
            items.push(item);
            used += length;
            self.left -= 1;
        }
        self.held.drain(..used);
        Ok(items)
    }

    /// Whether all items have come.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// The plain bytes after the last item: the beginning of the contents.
    ///
    /// # Errors
    /// When items are missing.
    pub fn finish(self) -> Result<Vec<u8>, Malformed> {
        if self.left == 0 {
            Ok(self.held)
        } else {
            Err(malformed(format!("{} items are missing", self.left)))
        }
    }
}

fn check_item_length(length: usize) -> Result<(), Malformed> {
    if length <= ITEM_BYTES_MAX {
        Ok(())
    } else {
        Err(malformed(format!(
            "an item of more than {ITEM_BYTES_MAX} bytes"
        )))
    }
}

/// A content of a change list that travels in a section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SmallContent {
    /// Position in the change list.
    pub position: u32,
    /// What its bytes hash to.
    pub id: ContentId,
    /// How many bytes it has.
    pub length: u64,
}

/// The contents of a change list that are small enough for a section, each at
/// the first position that has it. Both sides derive the same list, so that
/// only counts and positions travel.
#[must_use]
pub fn small_contents(changes: &[Change]) -> Vec<SmallContent> {
    let mut seen = HashSet::new();
    (0..)
        .zip(changes)
        .filter_map(|(position, change)| small_content(position, change))
        .filter(|content| seen.insert(content.id))
        .collect()
}

fn small_content(position: u32, change: &Change) -> Option<SmallContent> {
    let Action::Put(Entry::File(file)) = &change.action else {
        return None;
    };
    (file.length <= SMALL_CONTENT_BYTES_MAX).then_some(SmallContent {
        position,
        id: file.content,
        length: file.length,
    })
}

/// A content and the plain bytes it takes in the section.
type Cut = (Content, usize);

/// Cuts the plain bytes of a section into contents of known lengths.
///
/// The bytes are not hashed here: that is for whoever stores them.
pub struct ContentSplitter {
    lengths: VecDeque<usize>,
    held: Vec<u8>,
}

impl ContentSplitter {
    /// Expects contents of these lengths, in this order.
    ///
    /// # Errors
    /// When a length is beyond that of a small content.
    pub fn new(lengths: impl IntoIterator<Item = u64>) -> Result<Self, Malformed> {
        let small = |length| match usize::try_from(length) {
            Ok(small) if length <= SMALL_CONTENT_BYTES_MAX => Ok(small),
            _ => Err(malformed(format!("a content of {length} bytes"))),
        };
        Ok(Self {
            lengths: lengths.into_iter().map(small).collect::<Result<_, _>>()?,
            held: Vec::new(),
        })
    }

    /// The contents that these plain bytes complete, in order.
    ///
    /// # Errors
    /// When a status byte is unknown, steps are longer than the content they make,
    /// or bytes follow the last content.
    pub fn push(&mut self, plain: &[u8]) -> Result<Vec<Content>, Malformed> {
        self.held.extend_from_slice(plain);
        let mut contents = Vec::new();
        let mut used = 0;
        while let Some((content, length)) = self.next(used)? {
            contents.push(content);
            used += length;
        }
        self.held.drain(..used);
        Ok(contents)
    }

    /// The content at `start` and the plain bytes it takes, if complete.
    fn next(&mut self, start: usize) -> Result<Option<Cut>, Malformed> {
        let Some((&status, rest)) = self.held[start..].split_first() else {
            return Ok(None);
        };
        let Some(&length) = self.lengths.front() else {
            return Err(malformed("bytes after the last content"));
        };
        let (content, used) = match status {
            GONE => (Content::Gone, 1),
            PRESENT if rest.len() < length => return Ok(None),
            PRESENT => (Content::Whole(rest[..length].to_vec()), 1 + length),
            PATCHED => match steps(rest, length)? {
                Some((steps, used)) => (Content::Steps(steps), 1 + used),
                None => return Ok(None),
            },
            other => return Err(malformed(format!("content status {other}"))),
        };
        self.lengths.pop_front();
        Ok(Some((content, used)))
    }

    /// Whether all contents have come.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Checks that the section may end here.
    ///
    /// # Errors
    /// When contents are missing.
    pub fn finish(self) -> Result<(), Malformed> {
        match self.lengths.len() {
            0 => Ok(()),
            missing => Err(malformed(format!("{missing} contents are missing"))),
        }
    }
}

/// The steps at the beginning of `bytes` and the bytes they take, if complete.
fn steps(bytes: &[u8], most: usize) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
    let Some((length, head)) = codec::decode_if_complete::<u64>(bytes)? else {
        return Ok(None);
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > most {
        return Err(malformed("more steps than the content has bytes"));
    }
    let steps = bytes.get(head..head + length);
    Ok(steps.map(|steps| (steps.to_vec(), head + length)))
}

fn malformed(reason: impl Into<String>) -> Malformed {
    Malformed {
        what: "section",
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Epoch, FileEntry, Generation, GenerationHeader, Mode, Mtime, Root, TreeName,
        blocks::Decompressor,
        wire::{Offer, Opening},
    };

    fn put(path: &str, content: &[u8]) -> Change {
        Change {
            path: RelPath::new(path.as_bytes()).unwrap(),
            action: Action::Put(Entry::File(FileEntry {
                mode: Mode::new(0o644),
                mtime: Mtime {
                    seconds: 1_790_000_000,
                    nanoseconds: 123_456_789,
                },
                length: content.len() as u64,
                content: ContentId::of(content),
            })),
        }
    }

    fn write(changes: &[Change], contents: &[Content]) -> Vec<Block> {
        let mut section = SectionWriter::new();
        let mut blocks = Vec::new();
        for change in changes {
            blocks.extend(section.change(change));
        }
        for content in contents {
            blocks.extend(section.content(content));
        }
        blocks.push(section.finish());
        blocks
    }

    /// Feeds the plain bytes of `blocks` in pieces of `step` bytes.
    fn read(
        blocks: &[Block],
        count: usize,
        step: usize,
    ) -> Result<(Vec<Change>, Vec<Content>), Malformed> {
        let mut decompressor = Decompressor::new();
        let mut plain = Vec::new();
        for block in blocks {
            plain.extend(decompressor.push(block)?);
        }
        let mut list = ChangeListReader::new(count as u64);
        let mut changes = Vec::new();
        let mut pieces = plain.chunks(step);
        while !list.is_complete() {
            let Some(piece) = pieces.next() else { break };
            changes.extend(list.push(piece)?);
        }
        let rest = list.finish()?;
        let lengths = small_contents(&changes).into_iter().map(|one| one.length);
        let mut splitter = ContentSplitter::new(lengths)?;
        let mut contents = splitter.push(&rest)?;
        for piece in pieces {
            contents.extend(splitter.push(piece)?);
        }
        splitter.finish()?;
        Ok((changes, contents))
    }

    proptest! {
        #[test]
        fn changes_and_contents_survive_any_cut(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3_000), 1..20),
            step in 1..5_000_usize,
        ) {
            let mut changes: Vec<Change> = contents
                .iter()
                .enumerate()
                .map(|(number, content)| put(&format!("default/api/{number}.xml"), content))
                .collect();
            changes.push(Change {
                path: RelPath::new(b"default/api/old.xml").unwrap(),
                action: Action::Delete,
            });
            let sent: Vec<Content> = small_contents(&changes)
                .iter()
                .map(|one| &contents[one.position as usize])
                .map(|content| match content.len() % 5 {
                    1 => Content::Gone,
                    2 => Content::Steps(content[..content.len() / 2].to_vec()),
                    _ => Content::Whole(content.clone()),
                })
                .collect();
            let (read_changes, read_contents) =
                read(&write(&changes, &sent), changes.len(), step).unwrap();
            prop_assert_eq!(read_changes, changes);
            prop_assert_eq!(read_contents, sent);
        }
    }

    #[test]
    fn a_content_travels_once_and_large_ones_not_at_all() {
        let large = vec![b'x'; SMALL_CONTENT_BYTES_MAX as usize + 1];
        let changes = [
            put("a", b"one"),
            put("b", &large),
            put("c", b"one"),
            put("d", b"two"),
        ];
        let positions: Vec<u32> = small_contents(&changes)
            .iter()
            .map(|one| one.position)
            .collect();
        assert_eq!(positions, [0, 3]);
    }

    #[test]
    fn sections_that_lie_are_refused() {
        let changes = [put("a", b"one")];
        let whole = |bytes: &[u8]| Content::Whole(bytes.to_vec());
        let steps = |bytes: &[u8]| Content::Steps(bytes.to_vec());
        let cases: &[(&str, usize, &[Content])] = &[
            ("a change is missing", 2, &[]),
            ("a content is missing", 1, &[]),
            ("a content too many", 1, &[whole(b"one"), Content::Gone]),
            ("a content too short", 1, &[whole(b"on")]),
            ("a content too long", 1, &[whole(b"ones")]),
            ("more steps than bytes", 1, &[steps(b"ones")]),
            ("steps too many", 1, &[steps(b"one"), steps(b"")]),
        ];
        for (what, count, contents) in cases {
            let blocks = write(&changes, contents);
            assert!(read(&blocks, *count, 1_000).is_err(), "{what}");
        }
        let mut splitter = ContentSplitter::new([3]).unwrap();
        assert!(splitter.push(&[3]).is_err());
        assert!(ContentSplitter::new([SMALL_CONTENT_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn an_item_longer_than_any_is_refused_before_it_is_held() {
        let mut list = ChangeListReader::new(1);
        let long = [codec::encode(&(1_u64 << 20)), vec![b'x'; ITEM_BYTES_MAX]].concat();
        assert!(list.push(&long).is_err());
    }

    /// An API as API Manager writes it: the vocabulary of its templates with the
    /// names, versions and addresses of this one.
    fn artifact() -> String {
        let resources: String = ["/menu", "/order", "/order/{orderId}", "/delivery/*"]
            .iter()
            .map(|template| {
                format!(
                    r#"    <resource methods="GET POST" uri-template="{template}" faultSequence="fault">
        <inSequence>
            <property name="api.ut.backendRequestTime" expression="get-property('SYSTEM_TIME')"/>
            <send>
                <endpoint name="PizzaShackAPI--v1.0.0_APIproductionEndpoint_0">
                    <http uri-template="https://backend.example.com:9443/pizzashack{template}"/>
                </endpoint>
            </send>
        </inSequence>
        <outSequence><class name="org.wso2.carbon.apimgt.gateway.handlers.analytics.APIMgtResponseHandler"/><send/></outSequence>
    </resource>
"#
                )
            })
            .collect();
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?><api xmlns="http://ws.apache.org/ns/synapse" name="admin--PizzaShackAPI" context="/pizzashack/1.0.0" version="1.0.0" version-type="context">
{resources}    <handlers>
        <handler class="org.wso2.carbon.apimgt.gateway.handlers.security.APIAuthenticationHandler"/>
    </handlers>
</api>"#
        )
    }

    #[test]
    fn one_edit_of_two_kilobytes_costs_less_than_five_hundred_bytes() {
        let content = artifact();
        assert!(content.len() > 2_000);
        let changes = [put(
            "default/api/admin--PizzaShackAPI_v1.0.0.xml",
            content.as_bytes(),
        )];
        let blocks = write(&changes, &[Content::Whole(content.clone().into())]);
        let opening = Opening::Generation(Offer {
            header: GenerationHeader {
                tree: TreeName::new("synapse-configs").unwrap(),
                epoch: Epoch(3),
                generation: Generation(4_711),
                base: Root([7; 32]),
                root: Root([8; 32]),
            },
            changes: 1,
            contents_following: 1,
            released: None,
        });
        let frames = 2 * size_of::<u32>();
        let block = codec::encode(&blocks[0]).len();
        let bytes = frames + codec::encode(&opening).len() + block;
        assert!(
            bytes < 500,
            "{bytes} bytes, {block} of them the block, plain {}",
            content.len()
        );
    }
}

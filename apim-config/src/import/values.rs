//! The variables of a script, and words with their values in place.

use std::collections::BTreeMap;

use super::{
    script::last_name,
    shell::{Part, Piece, Word, commands, is_name},
};

/// Bytes of one value: a path has at most 4,096; assignments that double a
/// value again and again stop here.
const VALUE_BYTES_MAX: usize = 16 << 10;
/// Bytes of one command with its values in place: more than its own text only
/// where values are repeated.
const COMMAND_BYTES_MAX: usize = 1 << 20;
/// Variables of one script; the documented one has five.
const VARIABLES_MAX: usize = 1_000;

/// A piece of a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Atom {
    /// As it stands.
    Text(String),
    /// What the loop of this number is at.
    Item(usize),
}

/// What a variable holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    /// These pieces, side by side.
    Known(Vec<Atom>),
    /// The lines of a file of this name.
    List(String),
    /// What is not known here, and why.
    Unknown(String),
}

/// A word as a command gets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Field {
    /// These pieces, side by side.
    Known(Vec<Atom>),
    /// What is not known here: how it begins, and why.
    Unknown {
        /// What stands before the part that is not known.
        prefix: String,
        /// Why it is not known.
        reason: String,
    },
}

impl Field {
    /// The text, where it is the same in every round of every loop.
    pub(super) fn text(&self) -> Result<String, String> {
        match self {
            Self::Unknown { reason, .. } => Err(reason.clone()),
            Self::Known(atoms) if atoms.iter().any(|it| matches!(it, Atom::Item(_))) => {
                Err("it depends on another loop".into())
            }
            Self::Known(_) => Ok(self.lossy()),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Known(atoms) => bytes(atoms),
            Self::Unknown { prefix, reason } => prefix.len() + reason.len(),
        }
    }

    /// The text as far as it is known.
    pub(super) fn lossy(&self) -> String {
        let text = |atom: &Atom| match atom {
            Atom::Text(text) => text.clone(),
            Atom::Item(_) => "...".into(),
        };
        match self {
            Self::Known(atoms) => atoms.iter().map(text).collect(),
            Self::Unknown { prefix, .. } => prefix.clone(),
        }
    }
}

/// The variables that are set so far.
#[derive(Default)]
pub(super) struct Variables {
    values: BTreeMap<String, Value>,
}

impl Variables {
    pub(super) fn set(&mut self, name: String, value: Value) {
        let is_known = self.values.len() < VARIABLES_MAX || self.values.contains_key(&name);
        let value = match is_known {
            true => value,
            false => Value::Unknown(format!("there are more than {VARIABLES_MAX} variables")),
        };
        self.values.insert(name, value);
    }

    /// Makes the assignments that `words` begins with; the rest.
    pub(super) fn assign<'w>(&mut self, words: &'w [Word]) -> &'w [Word] {
        let mut rest = words;
        while let [first, after @ ..] = rest
            && let Some((name, value)) = assignment(first)
        {
            let value = self.value(&value);
            self.set(name, value);
            rest = after;
        }
        rest
    }

    fn value(&self, word: &Word) -> Value {
        if let Some(file) = self.list(word) {
            return Value::List(file);
        }
        // In an assignment nothing is split.
        let quoted = |piece: &Piece| Piece {
            quoted: piece.quoted || !matches!(piece.part, Part::Text(_)),
            ..piece.clone()
        };
        let word = Word {
            pieces: word.pieces.iter().map(quoted).collect(),
        };
        match self.fields(&[word]).pop() {
            None => Value::Known(Vec::new()),
            Some(Field::Known(atoms)) => Value::Known(atoms),
            Some(Field::Unknown { reason, .. }) => Value::Unknown(reason),
        }
    }

    /// The file whose lines `word` stands for, in a loop's head.
    pub(super) fn list(&self, word: &Word) -> Option<String> {
        let [piece] = word.pieces.as_slice() else {
            return None;
        };
        match &piece.part {
            Part::Command(text) => listed(text),
            Part::Variable(name) => match self.values.get(name) {
                Some(Value::List(file)) => Some(file.clone()),
                _ => None,
            },
            _ => None,
        }
    }

    /// The words as a command gets them: values in place, unquoted ones split.
    pub(super) fn fields(&self, words: &[Word]) -> Vec<Field> {
        let mut fields = Vec::new();
        let mut bytes = 0;
        for word in words {
            let split = self.split(word);
            bytes += split.iter().map(Field::bytes).sum::<usize>();
            if bytes > COMMAND_BYTES_MAX {
                fields.push(Field::Unknown {
                    prefix: String::new(),
                    reason: format!("the command is longer than {COMMAND_BYTES_MAX} bytes"),
                });
                break;
            }
            fields.extend(split);
        }
        fields
    }

    fn split(&self, word: &Word) -> Vec<Field> {
        let mut fields = Fields::default();
        for piece in &word.pieces {
            match &piece.part {
                Part::Text(text) => fields.text(text),
                Part::Variable(name) => match self.lookup(name) {
                    Ok(atoms) => fields.value(&atoms, piece.quoted),
                    Err(reason) => return fields.unknown(reason),
                },
                Part::Command(text) => {
                    return fields
                        .unknown(format!("`$({})` is the output of a command", shown(text)));
                }
                Part::Opaque(what) => return fields.unknown(format!("it holds {what}")),
            }
            if fields.bytes() > VALUE_BYTES_MAX {
                return fields.unknown(format!("it is longer than {VALUE_BYTES_MAX} bytes"));
            }
        }
        fields.done()
    }

    fn lookup(&self, name: &str) -> Result<Vec<Atom>, String> {
        match self.values.get(name) {
            Some(Value::Known(atoms)) => Ok(atoms.clone()),
            Some(Value::Unknown(reason)) => Err(reason.clone()),
            Some(Value::List(file)) => Err(format!(
                "`${}` is the whole of `{}`",
                shown(name),
                shown(file)
            )),
            // Whose home that is, is decided with the path.
            None if name == "HOME" => Ok(vec![Atom::Text("~".into())]),
            None => Err(format!(
                "the variable `${}` is never set in this script",
                shown(name)
            )),
        }
    }
}

/// `NAME=VALUE`.
fn assignment(word: &Word) -> Option<(String, Word)> {
    let [
        Piece {
            part: Part::Text(text),
            quoted: false,
        },
        rest @ ..,
    ] = word.pieces.as_slice()
    else {
        return None;
    };
    let (name, value) = text.split_once('=')?;
    if !is_name(name) || name.starts_with(|char: char| char.is_ascii_digit()) {
        return None;
    }
    let first = Piece {
        part: Part::Text(value.into()),
        quoted: false,
    };
    let first = (!value.is_empty()).then_some(first);
    let pieces = first.into_iter().chain(rest.iter().cloned()).collect();
    Some((name.into(), Word { pieces }))
}

/// The file that `cat FILE` or `< FILE` prints.
fn listed(command: &str) -> Option<String> {
    let commands = commands(command).ok()?;
    let [command] = commands.as_slice() else {
        return None;
    };
    let file = match (command.words.as_slice(), command.redirects.as_slice()) {
        ([cat, file], _) if cat.plain() == Some("cat") => file,
        ([], [redirect]) if !redirect.out => &redirect.to,
        ([cat], [redirect]) if cat.plain() == Some("cat") && !redirect.out => &redirect.to,
        _ => return None,
    };
    Some(last_name(&file.raw()))
}

/// A text short enough for a message.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

fn bytes(atoms: &[Atom]) -> usize {
    let bytes = |atom: &Atom| match atom {
        Atom::Text(text) => text.len(),
        Atom::Item(_) => 1,
    };
    atoms.iter().map(bytes).sum()
}

/// Words in the making.
#[derive(Default)]
struct Fields {
    done: Vec<Vec<Atom>>,
    current: Option<Vec<Atom>>,
}

impl Fields {
    fn text(&mut self, text: &str) {
        let current = self.current.get_or_insert_default();
        match current.last_mut() {
            Some(Atom::Text(before)) => before.push_str(text),
            _ => current.push(Atom::Text(text.into())),
        }
    }

    fn value(&mut self, atoms: &[Atom], quoted: bool) {
        for atom in atoms {
            match atom {
                Atom::Text(text) if !quoted => self.words(text),
                Atom::Text(text) => self.text(text),
                Atom::Item(number) => self
                    .current
                    .get_or_insert_default()
                    .push(Atom::Item(*number)),
            }
        }
        if quoted {
            self.current.get_or_insert_default();
        }
    }

    fn words(&mut self, text: &str) {
        if text.starts_with(char::is_whitespace) {
            self.done.extend(self.current.take());
        }
        for (index, word) in text.split_whitespace().enumerate() {
            if index > 0 {
                self.done.extend(self.current.take());
            }
            self.text(word);
        }
        if text.ends_with(char::is_whitespace) {
            self.done.extend(self.current.take());
        }
    }

    fn bytes(&self) -> usize {
        let all = self.done.iter().chain(&self.current);
        all.map(|atoms| bytes(atoms)).sum()
    }

    fn unknown(mut self, reason: String) -> Vec<Field> {
        let prefix = Field::Known(self.current.take().unwrap_or_default()).lossy();
        let mut fields = self.done();
        fields.push(Field::Unknown { prefix, reason });
        fields
    }

    fn done(mut self) -> Vec<Field> {
        self.done.extend(self.current.take());
        self.done.into_iter().map(Field::Known).collect()
    }
}

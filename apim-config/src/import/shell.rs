//! The words of a shell script: quotes, backslashes, comments, redirections and
//! here-documents. It splits and runs nothing; what a word means is decided by
//! [`script`](super::script).

mod word;

/// What part of a word is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// As it stands.
    Text(String),
    /// `$name` or `${name}`.
    Variable(String),
    /// The text inside `$(...)` or backquotes.
    Command(String),
    /// What only a running shell knows, and what to call it.
    Opaque(&'static str),
}

/// A part and whether it stands in quotes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) part: Part,
    pub(super) quoted: bool,
}

/// A word: its pieces, side by side.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Word {
    pub(super) pieces: Vec<Piece>,
}

/// What ends a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// A line's end, `;` or a bracket.
    Then,
    /// `&&` or `||`.
    Decides,
    /// `|`.
    Pipe,
    /// `&`.
    Background,
}

/// `> word` or `< word`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Redirect {
    pub(super) out: bool,
    pub(super) to: Word,
}

/// A command: its words, keywords and assignments among them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Command {
    pub(super) line: usize,
    pub(super) words: Vec<Word>,
    pub(super) redirects: Vec<Redirect>,
    pub(super) end: End,
}

/// Why a script cannot be split.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ShellError {
    pub(super) line: usize,
    pub(super) reason: &'static str,
}

type Split<T> = Result<T, ShellError>;

/// The commands of `script`, whose lines end in `\n`.
pub(super) fn commands(script: &str) -> Split<Vec<Command>> {
    Lexer {
        rest: script,
        line: 1,
        documents: Vec::new(),
    }
    .commands()
}

impl Word {
    /// The word, where it is nothing but unquoted text: a keyword, a name.
    pub(super) fn plain(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [
                Piece {
                    part: Part::Text(text),
                    quoted: false,
                },
            ] => Some(text),
            _ => None,
        }
    }

    /// The word as written, but for its quotes and the braces of variables.
    pub(super) fn raw(&self) -> String {
        let raw = |piece: &Piece| match &piece.part {
            Part::Text(text) => text.clone(),
            Part::Variable(name) => format!("${name}"),
            Part::Command(text) => format!("$({text})"),
            Part::Opaque(what) => format!("<{what}>"),
        };
        self.pieces.iter().map(raw).collect()
    }
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    /// Here-documents that start at the next line's end: delimiter, and
    /// whether leading tabs go.
    documents: Vec<(String, bool)>,
}

impl Lexer<'_> {
    fn commands(mut self) -> Split<Vec<Command>> {
        let mut commands = Vec::new();
        loop {
            let command = self.command()?;
            let is_last = self.rest.is_empty();
            if !command.words.is_empty() || !command.redirects.is_empty() {
                commands.push(command);
            }
            if is_last {
                return Ok(commands);
            }
        }
    }

    fn command(&mut self) -> Split<Command> {
        let mut command = Command {
            line: self.line,
            words: Vec::new(),
            redirects: Vec::new(),
            end: End::Then,
        };
        loop {
            self.skip_blanks();
            if command.words.is_empty() {
                command.line = self.line;
            }
            if self.redirect(&mut command)? {
                continue;
            }
            if let Some(end) = self.end()? {
                command.end = end;
                return Ok(command);
            }
            let word = self.word()?;
            let is_descriptor = self.rest.starts_with(['<', '>'])
                && word
                    .plain()
                    .is_some_and(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
            if !is_descriptor {
                command.words.push(word);
            }
        }
    }

    fn skip_blanks(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r' | '\x0b' | '\x0c') => {
                    self.bump();
                }
                Some('\\') if self.rest.starts_with("\\\n") => {
                    self.bump();
                    self.bump();
                }
                Some('#') => self.skip_comment(),
                _ => return,
            }
        }
    }

    fn skip_comment(&mut self) {
        let length = self.rest.find('\n').unwrap_or(self.rest.len());
        self.rest = &self.rest[length..];
    }

    /// Takes what ends a command; the end of the script does too.
    fn end(&mut self) -> Split<Option<End>> {
        for (sign, end) in [
            ("&&", End::Decides),
            ("||", End::Decides),
            ("|&", End::Pipe),
            ("|", End::Pipe),
            ("&", End::Background),
            (";", End::Then),
            ("(", End::Then),
            (")", End::Then),
        ] {
            if self.eat(sign) {
                return Ok(Some(end));
            }
        }
        match self.peek() {
            Some('\n') => {
                self.bump();
                self.skip_documents()?;
                Ok(Some(End::Then))
            }
            None => Ok(Some(End::Then)),
            Some(_) => Ok(None),
        }
    }

    /// Takes a redirection, if one stands here.
    fn redirect(&mut self, command: &mut Command) -> Split<bool> {
        if self.eat("<<<") {
            self.skip_blanks();
            self.word()?;
            return Ok(true);
        }
        if self.eat("<<") {
            let tabs_go = self.eat("-");
            self.skip_blanks();
            let delimiter = self.word()?.raw();
            self.documents.push((delimiter, tabs_go));
            return Ok(true);
        }
        if self.eat(">&") || self.eat("<&") {
            self.word()?;
            return Ok(true);
        }
        let out = ["&>>", "&>", ">>", ">|", ">"]
            .iter()
            .any(|sign| self.eat(sign));
        if !out && !self.eat("<") {
            return Ok(false);
        }
        self.skip_blanks();
        let to = self.word()?;
        command.redirects.push(Redirect { out, to });
        Ok(true)
    }

    fn skip_documents(&mut self) -> Split<()> {
        for (delimiter, tabs_go) in std::mem::take(&mut self.documents) {
            let start = self.line;
            loop {
                if self.rest.is_empty() {
                    return Err(ShellError {
                        line: start,
                        reason: "the here-document is never closed",
                    });
                }
                let length = self.rest.find('\n').unwrap_or(self.rest.len());
                let line = &self.rest[..length];
                self.rest = self.rest.get(length + 1..).unwrap_or_default();
                self.line += 1;
                let line = if tabs_go {
                    line.trim_start_matches('\t')
                } else {
                    line
                };
                if line == delimiter {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The text before `close`, which goes too.
    fn until(&mut self, close: char) -> Option<String> {
        let length = self.rest.find(close)?;
        let text = self.rest[..length].to_owned();
        self.line += text.matches('\n').count();
        self.rest = &self.rest[length + close.len_utf8()..];
        Some(text)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let char = self.peek()?;
        self.rest = &self.rest[char.len_utf8()..];
        self.line += usize::from(char == '\n');
        Some(char)
    }

    fn eat(&mut self, sign: &str) -> bool {
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

/// Whether `text` names a variable or one of the script's arguments.
pub(super) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let is_word = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    match bytes.next() {
        Some(first) if first.is_ascii_digit() => bytes.all(|byte| byte.is_ascii_digit()),
        Some(first) => is_word(first) && bytes.all(is_word),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The raw words of each command, a `|` between words.
    fn split(script: &str) -> Vec<String> {
        let words = |command: &Command| {
            let words: Vec<_> = command.words.iter().map(Word::raw).collect();
            format!("{}: {}", command.line, words.join("|"))
        };
        commands(script).unwrap().iter().map(words).collect()
    }

    #[test]
    fn words_end_where_a_shell_ends_them() {
        let cases = [
            ("a b  c", "1: a|b|c"),
            ("a 'b c'd \"e $f\"", "1: a|b cd|e $f"),
            ("a \\\n  b", "1: a|b"),
            ("\n\na # b", "3: a"),
            ("a#b", "1: a#b"),
            ("a\\ b \"c\\\"d\"", "1: a b|c\"d"),
            ("a ${b}c $d/e", "1: a|$bc|$d/e"),
            ("a `cat x` $(cat \"y)\")", "1: a|$(cat x)|$(cat \"y)\")"),
            ("a >> log 2>&1 b", "1: a|b"),
            ("a ''", "1: a|"),
            ("x=(1 2) y", "1: x=<an array>|y"),
            ("a ${b%/}", "1: a|<a ${...} that changes the value>"),
        ];
        for (script, expected) in cases {
            assert_eq!(split(script), [expected], "{script}");
        }
    }

    #[test]
    fn commands_end_where_a_shell_ends_them() {
        assert_eq!(
            split("a; b && c || d | e & f\ng"),
            ["1: a", "1: b", "1: c", "1: d", "1: e", "1: f", "2: g"]
        );
        assert_eq!(
            split("cat <<-END > x\nnot 'this\n\tEND\nb"),
            ["1: cat", "4: b"]
        );
    }

    #[test]
    fn what_is_never_closed_is_named_with_its_line() {
        for script in ["\n'a", "\n\"a", "\n`a", "\n$(a", "\n${a", "\nb <<E\nc"] {
            let error = commands(script).unwrap_err();
            assert!(
                error.line >= 2 && error.reason.contains("never closed"),
                "{error:?}"
            );
        }
    }
}

//! One word: its quotes, backslashes, variables and substitutions.

use super::{Lexer, Part, Piece, ShellError, Split, Word, is_name};

impl Lexer<'_> {
    pub(super) fn word(&mut self) -> Split<Word> {
        let mut word = Word::default();
        while let Some(char) = self.peek() {
            match char {
                '(' if word.ends_in_equals() => {
                    self.bracketed("the bracket is never closed")?;
                    word.push(Part::Opaque("an array"), false);
                }
                ' ' | '\t' | '\r' | '\x0b' | '\x0c' | '\n' | ';' | '&' | '|' | '<' | '>' | '('
                | ')' => break,
                '\'' => self.single(&mut word)?,
                '"' => self.double(&mut word)?,
                '\\' => self.escaped(&mut word),
                '$' => self.dollar(&mut word, false)?,
                '`' => self.backquoted(&mut word, false)?,
                char => {
                    self.bump();
                    word.push_char(char, false);
                }
            }
        }
        Ok(word)
    }

    fn escaped(&mut self, word: &mut Word) {
        self.bump();
        match self.bump() {
            Some('\n') => {}
            Some(char) => word.push_char(char, true),
            None => word.push_char('\\', true),
        }
    }

    fn single(&mut self, word: &mut Word) -> Split<()> {
        let error = self.error("the quote ' is never closed");
        self.bump();
        let text = self.until('\'').ok_or(error)?;
        word.push(Part::Text(text), true);
        Ok(())
    }

    fn double(&mut self, word: &mut Word) -> Split<()> {
        let error = self.error("the quote \" is never closed");
        self.bump();
        word.push(Part::Text(String::new()), true);
        loop {
            match self.peek() {
                None => return Err(error),
                Some('"') => {
                    self.bump();
                    return Ok(());
                }
                Some('$') => self.dollar(word, true)?,
                Some('`') => self.backquoted(word, true)?,
                Some('\\') => {
                    self.bump();
                    match self.bump() {
                        Some('\n') => {}
                        Some(char @ ('$' | '`' | '"' | '\\')) => word.push_char(char, true),
                        Some(char) => {
                            word.push_char('\\', true);
                            word.push_char(char, true);
                        }
                        None => return Err(error),
                    }
                }
                Some(char) => {
                    self.bump();
                    word.push_char(char, true);
                }
            }
        }
    }

    fn dollar(&mut self, word: &mut Word, quoted: bool) -> Split<()> {
        let error = self.error("the ${ is never closed");
        self.bump();
        match self.peek() {
            Some('(') => {
                let inner = self.bracketed("the $( is never closed")?;
                word.push(Part::Command(inner), quoted);
            }
            Some('{') => {
                self.bump();
                let inner = self.until('}').ok_or(error)?;
                let part = match is_name(&inner) {
                    true => Part::Variable(inner),
                    false => Part::Opaque("a ${...} that changes the value"),
                };
                word.push(part, quoted);
            }
            Some('\'') if !quoted => {
                self.single(word)?;
                word.push(Part::Opaque("a $'...' with escapes"), true);
            }
            Some('"') if !quoted => self.double(word)?,
            Some(char) if char == '_' || char.is_ascii_alphabetic() => {
                let is_end = |char: char| char != '_' && !char.is_ascii_alphanumeric();
                let length = self.rest.find(is_end).unwrap_or(self.rest.len());
                word.push(Part::Variable(self.rest[..length].into()), quoted);
                self.rest = &self.rest[length..];
            }
            Some(char) if char.is_ascii_digit() || "?@*#!$-".contains(char) => {
                self.bump();
                word.push(Part::Variable(char.into()), quoted);
            }
            _ => word.push_char('$', quoted),
        }
        Ok(())
    }

    fn backquoted(&mut self, word: &mut Word, quoted: bool) -> Split<()> {
        let error = self.error("the backquote is never closed");
        self.bump();
        let mut inner = String::new();
        loop {
            match self.bump() {
                None => return Err(error),
                Some('`') => break,
                Some('\\') if self.rest.starts_with(['`', '\\', '$']) => {
                    inner.extend(self.bump());
                }
                Some(char) => inner.push(char),
            }
        }
        word.push(Part::Command(inner), quoted);
        Ok(())
    }

    /// The text inside the brackets that start here; those in quotes do not
    /// count.
    fn bracketed(&mut self, reason: &'static str) -> Split<String> {
        let error = self.error(reason);
        let mut inner = String::new();
        let (mut depth, mut quote) = (0_usize, None);
        loop {
            let char = self.bump().ok_or_else(|| error.clone())?;
            match (char, quote) {
                ('\\', None | Some('"')) => {
                    inner.push(char);
                    inner.extend(self.bump());
                    continue;
                }
                ('\'' | '"', None) => quote = Some(char),
                (char, Some(open)) if char == open => quote = None,
                ('(', None) => {
                    depth += 1;
                    if depth == 1 {
                        continue;
                    }
                }
                (')', None) => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(inner);
                    }
                }
                _ => {}
            }
            inner.push(char);
        }
    }

    fn error(&self, reason: &'static str) -> ShellError {
        ShellError {
            line: self.line,
            reason,
        }
    }
}

impl Word {
    fn push_char(&mut self, char: char, quoted: bool) {
        if let Some(Piece {
            part: Part::Text(text),
            quoted: before,
        }) = self.pieces.last_mut()
            && *before == quoted
        {
            text.push(char);
            return;
        }
        self.push(Part::Text(char.into()), quoted);
    }

    fn push(&mut self, part: Part, quoted: bool) {
        self.pieces.push(Piece { part, quoted });
    }

    fn ends_in_equals(&self) -> bool {
        matches!(self.pieces.last(), Some(Piece { part: Part::Text(text), quoted: false }) if text.ends_with('='))
    }
}

//! The wildcards of rsync's patterns, on bytes.
//!
//! `*` matches within a component, `**` across slashes, `?` one byte but no
//! slash, `[...]` a class. A `\\` escapes, but only in a pattern that has a
//! wildcard. Where in a path a pattern is tried is for [`exclude`].
//!
//! [`exclude`]: crate::exclude

/// A pattern, parsed.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
    /// What every text that matches ends with: most texts are known by that not
    /// to match.
    tail: Box<[u8]>,
}

#[derive(Clone, Debug)]
enum Token {
    Byte(u8),
    /// `?`
    Any,
    Class(Class),
    /// `*`
    Star,
    /// `**` or more
    StarStar,
}

/// A set of bytes.
#[derive(Clone, Debug, Default)]
struct Class([u128; 2]);

impl Glob {
    /// Parses a pattern, or says what is wrong with it.
    pub(crate) fn parse(pattern: &[u8]) -> Result<Self, &'static str> {
        if !pattern.iter().any(|byte| b"*?[".contains(byte)) {
            return Ok(Self::of(pattern.iter().copied().map(Token::Byte).collect()));
        }
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let Some((&byte, after)) = rest.split_first() {
            let (token, left) = match byte {
                b'*' => star(after),
                b'?' => (Token::Any, after),
                b'[' => class(after)?,
                b'\\' => escaped(after).map(|(byte, left)| (Token::Byte(byte), left))?,
                byte => (Token::Byte(byte), after),
            };
            tokens.push(token);
            rest = left;
        }
        Ok(Self::of(tokens))
    }

    fn of(tokens: Vec<Token>) -> Self {
        let literal = |token: &Token| match token {
            Token::Byte(byte) => Some(*byte),
            _ => None,
        };
        let mut tail: Vec<u8> = tokens.iter().rev().map_while(literal).collect();
        tail.reverse();
        let tail = tail.into();
        Self { tokens, tail }
    }

    /// Whether all of `text` matches.
    ///
    /// Goes back only to the last `*` and the last `**`: what an earlier one
    /// took least of leaves most to the later ones, and no `*` passes a slash.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        if !text.ends_with(&self.tail) {
            return false;
        }
        let mut at = Place { token: 0, byte: 0 };
        let (mut star, mut star_star) = (None, None);
        loop {
            match self.tokens.get(at.token) {
                Some(Token::Star) => {
                    at.token += 1;
                    star = Some(at);
                    continue;
                }
                Some(Token::StarStar) => {
                    at.token += 1;
                    star = None;
                    star_star = Some(at);
                    continue;
                }
                Some(token) if text.get(at.byte).is_some_and(|&byte| token.takes(byte)) => {
                    at.token += 1;
                    at.byte += 1;
                    continue;
                }
                None if at.byte == text.len() => return true,
                _ => {}
            }
            let Some(back) = retry(text, &mut star, &mut star_star) else {
                return false;
            };
            at = back;
        }
    }
}

/// How far a match has come: `token` is to match at `byte`.
#[derive(Clone, Copy)]
struct Place {
    token: usize,
    byte: usize,
}

/// Lets the last wildcard that can take one byte more.
fn retry(text: &[u8], star: &mut Option<Place>, star_star: &mut Option<Place>) -> Option<Place> {
    if let Some(place) = star
        && text.get(place.byte).is_some_and(|&byte| byte != b'/')
    {
        place.byte += 1;
        return *star;
    }
    *star = None;
    let place = star_star.as_mut()?;
    if place.byte == text.len() {
        return None;
    }
    place.byte += 1;
    Some(*place)
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => *own == byte,
            Self::Any => byte != b'/',
            Self::Class(class) => byte != b'/' && class.has(byte),
            Self::Star | Self::StarStar => false,
        }
    }
}

type Parsed<'a, T> = Result<(T, &'a [u8]), &'static str>;

fn star(after: &[u8]) -> (Token, &[u8]) {
    let more = after.iter().take_while(|&&byte| byte == b'*').count();
    let token = if more == 0 {
        Token::Star
    } else {
        Token::StarStar
    };
    (token, &after[more..])
}

fn escaped(after: &[u8]) -> Parsed<'_, u8> {
    let (&byte, left) = after.split_first().ok_or("nothing follows the last `\\`")?;
    Ok((byte, left))
}

/// What stands after a `[`.
fn class(after: &[u8]) -> Parsed<'_, Token> {
    let (negated, mut rest) = match after {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut class = Class::default();
    let mut previous = None;
    let mut first = true;
    loop {
        rest = match rest {
            [] => return Err("a `[` has no `]`"),
            [b']', left @ ..] if !first => {
                return Ok((Token::Class(class.negated_if(negated)), left));
            }
            [b'[', b':', named @ ..] if named_end(named).is_some() => {
                previous = None;
                class.add_named(named)?
            }
            [b'-', end @ ..] if previous.is_some() && !matches!(end, [] | [b']', ..]) => {
                let (end, left) = class_byte(end)?;
                class.add(previous.take().unwrap_or(end)..=end);
                left
            }
            bytes => {
                let (byte, left) = class_byte(bytes)?;
                class.add(byte..=byte);
                previous = Some(byte);
                left
            }
        };
        first = false;
    }
}

/// A byte of a class, perhaps escaped.
fn class_byte(bytes: &[u8]) -> Parsed<'_, u8> {
    match bytes {
        [b'\\', after @ ..] => escaped(after),
        [byte, left @ ..] => Ok((*byte, left)),
        [] => Err("a `[` has no `]`"),
    }
}

/// Where the `:]` of a `[:name:]` stands, if the next `]` belongs to one.
fn named_end(after: &[u8]) -> Option<usize> {
    let end = after.iter().position(|&byte| byte == b']')?;
    (end > 0 && after[end - 1] == b':').then(|| end - 1)
}

impl Class {
    fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 7)] >> (byte & 0x7f) & 1 == 1
    }

    fn add(&mut self, bytes: impl IntoIterator<Item = u8>) {
        for byte in bytes {
            self.0[usize::from(byte >> 7)] |= 1 << (byte & 0x7f);
        }
    }

    fn negated_if(self, negated: bool) -> Self {
        if negated {
            Self(self.0.map(|half| !half))
        } else {
            self
        }
    }

    /// Adds the class whose name `after` begins with; gives what follows it.
    fn add_named<'a>(&mut self, after: &'a [u8]) -> Result<&'a [u8], &'static str> {
        let end = named_end(after).ok_or("a `[:` has no `:]`")?;
        let has: fn(&u8) -> bool = match &after[..end] {
            b"alnum" => u8::is_ascii_alphanumeric,
            b"alpha" => u8::is_ascii_alphabetic,
            b"blank" => |byte| matches!(byte, b' ' | b'\t'),
            b"cntrl" => u8::is_ascii_control,
            b"digit" => u8::is_ascii_digit,
            b"graph" => u8::is_ascii_graphic,
            b"lower" => u8::is_ascii_lowercase,
            b"print" => |byte| matches!(byte, b' '..=b'~'),
            b"punct" => u8::is_ascii_punctuation,
            b"space" => |byte| matches!(byte, b' ' | 9..=13),
            b"upper" => u8::is_ascii_uppercase,
            b"xdigit" => u8::is_ascii_hexdigit,
            _ => return Err("a `[:class:]` that does not exist"),
        };
        self.add((0..=u8::MAX).filter(has));
        Ok(&after[end + 2..])
    }
}

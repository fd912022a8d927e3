//! What a synchronisation script would run: its variables, its loops, its
//! `rsync` commands, and what stands around them. Nothing is run; what only a
//! running shell knows stays unknown, with the reason.

use super::{
    shell::{Command, End, ShellError, Word, commands, is_name},
    values::{Atom, Field, Value, Variables},
};

/// Commands that tell somebody.
const ALERTS: [&str; 14] = [
    "mail",
    "mailx",
    "sendmail",
    "ssmtp",
    "msmtp",
    "mutt",
    "swaks",
    "logger",
    "curl",
    "wget",
    "snmptrap",
    "send_nsca",
    "zabbix_sender",
    "systemd-cat",
];
/// Commands that run the one that follows.
const WRAPPERS: [&str; 11] = [
    "sudo", "nice", "ionice", "timeout", "flock", "env", "nohup", "time", "command", "exec",
    "sshpass",
];
/// Words that stand before a command.
const KEYWORDS: [&str; 11] = [
    "do", "then", "else", "if", "elif", "while", "until", "!", "{", "}", "time",
];

/// What is kept of each kind: the documented script has one of each, or two.
const KEPT_MAX: usize = 100;

/// A loop and what it goes over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Loop {
    pub(super) line: usize,
    pub(super) over: Over,
}

/// What a loop goes over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Over {
    /// The lines of a file of this name: the workers list.
    List(String),
    /// These words.
    Words(Vec<String>),
    /// What is not known here, and why.
    Unknown(String),
}

/// An `rsync` command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Call {
    pub(super) line: usize,
    pub(super) arguments: Vec<Field>,
    pub(super) logs: Vec<String>,
    pub(super) is_checked: bool,
    pub(super) is_background: bool,
    pub(super) has_timeout: bool,
    pub(super) has_password: bool,
}

/// What the script says.
#[derive(Default, Debug)]
pub(super) struct Script {
    pub(super) calls: Vec<Call>,
    /// Whether there are more calls than are kept.
    pub(super) has_more_calls: bool,
    pub(super) loops: Vec<Loop>,
    /// Line and path of each directory whose making is a lock.
    pub(super) locks: Vec<(usize, String)>,
    /// Line and action of each trap on the script's exit.
    pub(super) traps: Vec<(usize, String)>,
    /// Line and path of each redirection into a file.
    pub(super) logs: Vec<(usize, String)>,
    pub(super) pushd: Option<usize>,
    pub(super) is_posix_shell: bool,
    pub(super) alerts: bool,
    pub(super) watches: bool,
}

/// Reads a script whose lines end in `\n`.
pub(super) fn read(text: &str) -> Result<Script, ShellError> {
    let mut reader = Reader {
        script: Script {
            is_posix_shell: is_posix_shell(text),
            ..Script::default()
        },
        variables: Variables::default(),
        open: Vec::new(),
        stops_on_error: false,
        before: None,
        piped: None,
    };
    for command in commands(text)? {
        reader.command(&command);
    }
    Ok(reader.script)
}

fn is_posix_shell(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    let name = first
        .strip_prefix("#!")
        .and_then(|rest| rest.split_whitespace().find(|it| !it.ends_with("/env")))
        .and_then(|path| path.rsplit('/').next());
    matches!(name, Some("sh" | "dash"))
}

struct Reader {
    script: Script,
    variables: Variables,
    /// The loops that are open; `None` for one without a variable.
    open: Vec<Option<usize>>,
    stops_on_error: bool,
    /// The call that the command before was.
    before: Option<usize>,
    /// The file that the command before writes into a pipe.
    piped: Option<String>,
}

impl Reader {
    fn command(&mut self, command: &Command) {
        let asks = command.words.iter().any(|word| word.raw().contains("$?"));
        if let (Some(before), true) = (self.before.take(), asks) {
            self.script.calls[before].is_checked = true;
        }
        let piped = self.piped.take();
        self.note_logs(command);
        let mut words = command.words.as_slice();
        let (mut is_condition, mut is_loop) = (false, false);
        while let [first, rest @ ..] = words
            && let Some(keyword) = first.plain().filter(|it| KEYWORDS.contains(it))
        {
            is_condition |= matches!(keyword, "if" | "elif" | "while" | "until" | "!");
            is_loop |= matches!(keyword, "while" | "until");
            words = rest;
        }
        if is_loop {
            self.open_while(command, words, piped);
            return;
        }
        match words.first().and_then(Word::plain) {
            Some("for") => self.open_for(command.line, &words[1..]),
            Some("done") => self.close(command),
            _ => self.simple(command, words, is_condition),
        }
    }

    fn note_logs(&mut self, command: &Command) {
        for redirect in command.redirects.iter().filter(|it| it.out) {
            if self.script.logs.len() == KEPT_MAX {
                return;
            }
            let path = self.text(&redirect.to);
            self.script.logs.push((command.line, path));
        }
    }

    /// `for NAME in WORDS`.
    fn open_for(&mut self, line: usize, words: &[Word]) {
        let over = match words {
            [_, keyword, over @ ..] if keyword.plain() == Some("in") => self.over(over),
            _ => Over::Unknown("it goes over the script's arguments".into()),
        };
        let name = words.first().and_then(Word::plain).map(str::to_owned);
        self.open_loop(line, name, over);
    }

    fn over(&self, words: &[Word]) -> Over {
        if let [word] = words
            && let Some(file) = self.variables.list(word)
        {
            return Over::List(file);
        }
        let mut items = Vec::new();
        for field in self.variables.fields(words) {
            match field.text() {
                Ok(text) => items.push(text),
                Err(reason) => return Over::Unknown(reason),
            }
        }
        Over::Words(items)
    }

    /// `while read NAME`; any other `while` has no variable.
    fn open_while(&mut self, command: &Command, words: &[Word], piped: Option<String>) {
        let mut plain = words
            .iter()
            .map(Word::raw)
            .skip_while(|word| word.contains('='));
        if plain.next().as_deref() != Some("read") {
            self.open.push(None);
            return;
        }
        let over = piped.map_or_else(
            || Over::Unknown("it goes over what is not known here".into()),
            Over::List,
        );
        let name = plain.last().filter(|name| is_name(name));
        self.open_loop(command.line, name, over);
    }

    fn open_loop(&mut self, line: usize, name: Option<String>, over: Over) {
        let number = self.script.loops.len();
        self.script.loops.push(Loop { line, over });
        self.open.push(Some(number));
        if let Some(name) = name {
            let item = Value::Known(vec![Atom::Item(number)]);
            self.variables.set(name, item);
        }
    }

    /// `done`, which may say what a `while read` goes over.
    fn close(&mut self, command: &Command) {
        let Some(Some(number)) = self.open.pop() else {
            return;
        };
        if let Some(redirect) = command.redirects.iter().find(|it| !it.out) {
            let file = last_name(&redirect.to.raw());
            self.script.loops[number].over = Over::List(file);
        }
    }

    fn simple(&mut self, command: &Command, words: &[Word], is_condition: bool) {
        let words = self.variables.assign(words);
        let Some(name) = words.first().map(|word| self.text(word)) else {
            return;
        };
        let is_tested = is_condition || command.end == End::Decides;
        let arguments = &words[1..];
        match last_name(&name).as_str() {
            "export" | "readonly" | "local" | "declare" | "typeset" => {
                let options = |word: &&Word| word.raw().starts_with('-');
                let skip = arguments.iter().take_while(options).count();
                self.variables.assign(&arguments[skip..]);
            }
            "set" => self.stops_on_error |= arguments.iter().any(sets_errexit),
            "trap" if self.script.traps.len() < KEPT_MAX => self.trap(command.line, arguments),
            "mkdir" if is_tested && self.script.locks.len() < KEPT_MAX => {
                let path = arguments.last().map(|word| self.text(word));
                let lock = path.map(|path| (command.line, path));
                self.script.locks.extend(lock);
            }
            "pushd" | "popd" => {
                self.script.pushd.get_or_insert(command.line);
            }
            "inotifywait" | "fswatch" | "lsyncd" => self.script.watches = true,
            "cat" if command.end == End::Pipe => {
                self.piped = arguments.last().map(|word| last_name(&word.raw()));
            }
            name if ALERTS.contains(&name) => self.script.alerts = true,
            _ => self.call(command, words, is_tested),
        }
    }

    fn trap(&mut self, line: usize, arguments: &[Word]) {
        if let [action, signals @ ..] = arguments
            && signals
                .iter()
                .any(|it| matches!(it.plain(), Some("EXIT" | "0")))
        {
            let action = self.text(action).replace(['{', '}'], "");
            self.script.traps.push((line, action));
        }
    }

    /// Takes the command, if it is `rsync` or runs it.
    fn call(&mut self, command: &Command, words: &[Word], is_tested: bool) {
        let fields = self.variables.fields(words);
        let names: Vec<String> = fields
            .iter()
            .map(|field| last_name(&field.lossy()))
            .collect();
        let is_wrapped = names
            .first()
            .is_some_and(|it| WRAPPERS.contains(&it.as_str()));
        let found = names
            .iter()
            .take(if is_wrapped { names.len() } else { 1 })
            .position(|it| it == "rsync");
        let Some(at) = found else {
            return;
        };
        if self.script.calls.len() == KEPT_MAX {
            self.script.has_more_calls = true;
            return;
        }
        let is_piped = command.end == End::Pipe;
        let logs = command.redirects.iter().filter(|it| it.out);
        let call = Call {
            line: command.line,
            logs: logs.map(|it| self.text(&it.to)).collect(),
            is_checked: (is_tested || self.stops_on_error) && !is_piped,
            is_background: command.end == End::Background,
            has_timeout: names[..at].iter().any(|it| it == "timeout"),
            has_password: names[..at].iter().any(|it| it == "sshpass"),
            arguments: fields.into_iter().skip(at + 1).collect(),
        };
        self.before = (!is_piped).then_some(self.script.calls.len());
        self.script.calls.push(call);
    }

    /// The word as far as it is known, for people and comparisons.
    fn text(&self, word: &Word) -> String {
        let fields = self.variables.fields(std::slice::from_ref(word));
        let known: Vec<String> = fields.iter().map(Field::lossy).collect();
        known.join(" ")
    }
}

fn sets_errexit(word: &Word) -> bool {
    let text = word.raw();
    text == "errexit" || (text.starts_with('-') && text.contains('e'))
}

/// What follows the last slash.
pub(super) fn last_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

//! The options and operands of one `rsync` command.

use super::{
    script::Call,
    values::{Atom, Field, shown},
};

/// Patterns of one command: the engine takes 1,000 for a tree.
const FILTERS_MAX: usize = 900;

/// Long options that take a value, which may be the next word.
const WITH_VALUE: [&str; 52] = [
    "address",
    "backup-dir",
    "block-size",
    "bwlimit",
    "checksum-choice",
    "checksum-seed",
    "chmod",
    "chown",
    "compare-dest",
    "compress-choice",
    "compress-level",
    "contimeout",
    "copy-as",
    "copy-dest",
    "debug",
    "early-input",
    "exclude",
    "exclude-from",
    "files-from",
    "filter",
    "groupmap",
    "iconv",
    "include",
    "include-from",
    "info",
    "link-dest",
    "log-file",
    "log-file-format",
    "max-alloc",
    "max-delete",
    "max-size",
    "min-size",
    "modify-window",
    "only-write-batch",
    "out-format",
    "outbuf",
    "partial-dir",
    "password-file",
    "port",
    "protocol",
    "read-batch",
    "remote-option",
    "rsh",
    "rsync-path",
    "skip-compress",
    "sockopts",
    "stderr",
    "stop-after",
    "stop-at",
    "suffix",
    "temp-dir",
    "timeout",
];

/// A pattern, as given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Filter {
    Exclude(String),
    Include(String),
}

/// What the options say, as far as it matters here.
#[derive(Clone, Default, Debug)]
pub(super) struct Options {
    pub(super) delete: bool,
    pub(super) max_delete: Option<String>,
    pub(super) compares_content: bool,
    pub(super) size_only: bool,
    pub(super) delay_updates: bool,
    pub(super) fsync: bool,
    pub(super) timeout: bool,
    pub(super) dry_run: bool,
    pub(super) password_file: bool,
    pub(super) shell: String,
    pub(super) filters: Vec<Filter>,
    /// Files of patterns.
    pub(super) pattern_files: Vec<String>,
    /// Options that choose files in a way that is not read here.
    pub(super) unread: Vec<String>,
}

/// A path, or why it is not known here.
pub(super) type Operand = Result<Vec<Atom>, String>;

/// One command.
#[derive(Clone, Debug)]
pub(super) struct Rsync {
    pub(super) options: Options,
    pub(super) sources: Vec<Operand>,
    pub(super) target: Operand,
}

/// Reads the words after `rsync`; the reason where that cannot be done.
pub(super) fn read(call: &Call) -> Result<Rsync, String> {
    let mut reader = Reader {
        options: Options::default(),
        operands: Vec::new(),
        fields: call.arguments.iter(),
    };
    reader.arguments()?;
    let Some((target, sources)) = reader.operands.split_last() else {
        return Err("rsync has neither source nor target".into());
    };
    if sources.is_empty() {
        return Err("rsync has one operand, and so only lists it".into());
    }
    Ok(Rsync {
        target: operand(target, "the target"),
        sources: sources.iter().map(|it| operand(it, "the source")).collect(),
        options: reader.options,
    })
}

fn operand(field: &Field, what: &str) -> Operand {
    match field {
        Field::Known(atoms) => Ok(atoms.clone()),
        Field::Unknown { reason, .. } => {
            Err(format!("{what} of rsync is not known here: {reason}"))
        }
    }
}

struct Reader<'a> {
    options: Options,
    operands: Vec<&'a Field>,
    fields: std::slice::Iter<'a, Field>,
}

impl Reader<'_> {
    fn arguments(&mut self) -> Result<(), String> {
        let mut only_operands = false;
        while let Some(field) = self.fields.next() {
            let text = field.lossy();
            match text.as_str() {
                "--" if !only_operands => only_operands = true,
                _ if only_operands => self.operands.push(field),
                text if text.starts_with("--") => self.long(text, field)?,
                text if text.starts_with('-') && text.len() > 1 => self.short(&text[1..])?,
                _ => self.operands.push(field),
            }
        }
        Ok(())
    }

    fn long(&mut self, text: &str, field: &Field) -> Result<(), String> {
        let (name, value) = match text[2..].split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (&text[2..], None),
        };
        if matches!(field, Field::Unknown { .. }) && names_files(name) {
            return Err(format!("the value of --{name} is not known here"));
        }
        let value = match value {
            None if WITH_VALUE.contains(&name) => self.next(name)?,
            value => value.unwrap_or_default(),
        };
        self.option(name, value)
    }

    fn short(&mut self, letters: &str) -> Result<(), String> {
        for (at, letter) in letters.char_indices() {
            let name = match letter {
                'c' => "checksum",
                'I' => "ignore-times",
                'n' => "dry-run",
                'R' => "relative",
                'C' => "cvs-exclude",
                'F' => "filter",
                'e' => "rsh",
                'f' => "filter",
                'B' => "block-size",
                'M' => "remote-option",
                'T' => "temp-dir",
                '@' => "modify-window",
                _ => continue,
            };
            if !matches!(letter, 'e' | 'f' | 'B' | 'M' | 'T' | '@') {
                self.option(name, String::new())?;
                continue;
            }
            let rest = &letters[at + letter.len_utf8()..];
            let value = match rest.strip_prefix('=').unwrap_or(rest) {
                "" => self.next(name)?,
                value => value.to_owned(),
            };
            return self.option(name, value);
        }
        Ok(())
    }

    fn next(&mut self, name: &str) -> Result<String, String> {
        match self.fields.next() {
            Some(Field::Unknown { reason, .. }) if names_files(name) => {
                Err(format!("the value of --{name} is not known here: {reason}"))
            }
            Some(field) => Ok(field.lossy()),
            None => Err(format!("--{} needs a value", shown(name))),
        }
    }

    fn option(&mut self, name: &str, value: String) -> Result<(), String> {
        let options = &mut self.options;
        match name {
            "del" | "delete" | "delete-before" | "delete-during" | "delete-after"
            | "delete-delay" | "delete-excluded" => options.delete = true,
            "max-delete" => options.max_delete = Some(shown(&value)),
            "checksum" | "ignore-times" => options.compares_content = true,
            "size-only" => options.size_only = true,
            "delay-updates" => options.delay_updates = true,
            "fsync" => options.fsync = true,
            "timeout" => options.timeout = value != "0",
            "dry-run" | "list-only" => options.dry_run = true,
            "password-file" => options.password_file = true,
            "rsh" => options.shell = value,
            "exclude" => self.filter(&value, Filter::Exclude)?,
            "include" => self.filter(&value, Filter::Include)?,
            "exclude-from" => options.pattern_files.push(shown(&value)),
            "include-from" | "files-from" | "filter" | "cvs-exclude" => {
                let value = shown(&value);
                options
                    .unread
                    .push(format!("--{name} {value}").trim_end().into());
            }
            "relative" => {
                return Err(
                    "with -R (--relative) rsync repeats the source's path below the target; that \
                     is not read here"
                        .into(),
                );
            }
            _ => {}
        }
        Ok(())
    }

    fn filter(&mut self, text: &str, kind: fn(String) -> Filter) -> Result<(), String> {
        let filters = &mut self.options.filters;
        let filter = match (text, text.split_at_checked(2)) {
            ("!", _) => {
                filters.clear();
                return Ok(());
            }
            (_, Some(("- ", pattern))) => Filter::Exclude(pattern.into()),
            (_, Some(("+ ", pattern))) => Filter::Include(pattern.into()),
            _ => kind(text.into()),
        };
        if filters.len() == FILTERS_MAX {
            return Err(format!("there are more than {FILTERS_MAX} patterns"));
        }
        filters.push(filter);
        Ok(())
    }
}

fn names_files(name: &str) -> bool {
    matches!(name, "exclude" | "include" | "exclude-from")
}

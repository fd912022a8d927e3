//! Paths and targets as a script writes them: whose home, which host.

use std::fmt::Write as _;

use super::values::shown;

/// The directory that every path of interest goes through.
const REPOSITORY: &str = "repository";

/// Where an operand of `rsync` is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    pub(super) user: Option<String>,
    /// `None`: this machine.
    pub(super) host: Option<String>,
    pub(super) path: String,
}

/// A path below an `APIM_HOME`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Inside {
    /// The home, as written, without a slash at its end.
    pub(super) home: String,
    /// The names from there on.
    pub(super) names: Vec<String>,
}

/// Splits `user@host:path`, `host:path` and `path`.
pub(super) fn target(text: &str) -> Result<Target, String> {
    let written = shown(text);
    if text.starts_with("rsync://") {
        return Err(format!(
            "`{written}` is a module of an rsync daemon: which directory that is stands in its \
             rsyncd.conf. Write user@host:/path of it instead"
        ));
    }
    let local = |path: &str| Target {
        user: None,
        host: None,
        path: path.into(),
    };
    let Some((host, path)) = split_host(text) else {
        return Ok(local(text));
    };
    if path.starts_with(':') {
        return Err(format!(
            "`{written}` is a module of an rsync daemon (`::`): which directory that is stands in \
             its rsyncd.conf. Write user@host:/path of it instead"
        ));
    }
    let (user, host) = match host.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, host),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let legal = |char: char| char.is_ascii_alphanumeric() || ".:-_%".contains(char);
    if host.is_empty() || !host.chars().all(legal) {
        return Err(format!("`{written}` names no host before its `:`"));
    }
    if user.is_some_and(|user| user.is_empty() || user.contains(['/', ' '])) {
        return Err(format!("`{written}` names no user before its `@`"));
    }
    Ok(Target {
        user: user.map(str::to_owned),
        host: Some(host.into()),
        path: path.into(),
    })
}

/// The host with its user, and what follows the colon. A colon after a slash
/// is part of a path.
fn split_host(text: &str) -> Option<(&str, &str)> {
    let bracket = text
        .find('[')
        .filter(|&at| at == 0 || text[..at].ends_with('@'));
    if let Some(open) = bracket {
        let close = open + text[open..].find("]:")?;
        return Some((&text[..=close], &text[close + 2..]));
    }
    let colon = text.find(':')?;
    (!text[..colon].contains('/')).then(|| (&text[..colon], &text[colon + 1..]))
}

/// Splits a path at its `repository`; `None` where it does not go through an
/// `APIM_HOME`.
pub(super) fn inside(path: &str) -> Result<Option<Inside>, String> {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/').filter(|it| !matches!(*it, "" | ".")) {
        if name != ".." {
            names.push(name);
            continue;
        }
        let above = names.pop().filter(|it| !it.starts_with(['~', '$']));
        if above.is_none() && !path.starts_with('/') {
            return Err(format!("`{}` leads out of what is known here", shown(path)));
        }
    }
    let at = names.iter().rposition(|name| *name == REPOSITORY);
    let is_home = |name: &&str| name.to_ascii_lowercase().starts_with("wso2");
    let at = match at {
        Some(at) => at,
        None if names.last().is_some_and(is_home) => names.len(),
        None => return Ok(None),
    };
    let mut home = String::from(if path.starts_with('/') { "/" } else { "" });
    home.push_str(&names[..at].join("/"));
    Ok(Some(Inside {
        home,
        names: names[at..].iter().map(|&name| name.into()).collect(),
    }))
}

/// The path below a user's home directory that `home` means, if it does.
pub(super) fn below_user(home: &str) -> Option<&str> {
    if home.starts_with('/') {
        return None;
    }
    let prefixes = ["~/", "$HOME/", "${HOME}/"];
    let below = prefixes.iter().find_map(|it| home.strip_prefix(it));
    match below {
        Some(below) => Some(below),
        None if matches!(home, "~" | "$HOME" | "${HOME}") => Some(""),
        None if home.starts_with(['~', '$']) => None,
        None => Some(home),
    }
}

/// The directory of a user, as most systems have it.
pub(super) fn directory_of(user: &str) -> String {
    let mut directory = String::new();
    // Writing to a String cannot fail.
    let _ = match user {
        "root" => write!(directory, "/root"),
        user => write!(directory, "/home/{user}"),
    };
    directory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_split_as_rsync_splits_them() {
        let cases = [
            ("u@h:/a", Some("u"), Some("h"), "/a"),
            ("h:a", None, Some("h"), "a"),
            ("u@[fe80::1]:/a", Some("u"), Some("fe80::1"), "/a"),
            ("[::1]:~/a", None, Some("::1"), "~/a"),
            ("/a:b", None, None, "/a:b"),
            ("a", None, None, "a"),
        ];
        for (text, user, host, path) in cases {
            let found = target(text).unwrap();
            let found = (found.user.as_deref(), found.host.as_deref(), found.path);
            assert_eq!(found, (user, host, path.to_owned()), "{text}");
        }
        for text in ["rsync://h/m", "h::m", "u@h::m/a", ":a", "u@:a", "a b:c"] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_is_split_at_the_last_repository() {
        let cases = [
            ("/o/w/repository/deployment/server/", "/o/w", 3),
            ("~/w//repository/./tenants", "~/w", 2),
            (
                "/repository/w/repository/deployment/server/../../tenants",
                "/repository/w",
                2,
            ),
            ("/opt/wso2am-2.6.0", "/opt/wso2am-2.6.0", 0),
        ];
        for (path, home, names) in cases {
            let found = inside(path).unwrap().unwrap();
            assert_eq!(
                (found.home.as_str(), found.names.len()),
                (home, names),
                "{path}"
            );
        }
        assert_eq!(inside("/etc/nginx").unwrap(), None);
        assert!(inside("~/../x/repository").is_err());
    }
}

//! What would change in a home, gathered before anything does.

use similar::TextDiff;

use crate::{
    finding::{Finding, Refusal, Row, State},
    home::{Home, HomeError},
    mask::masked,
    patch::{Changes, properties::Properties, site_json::SiteJson, toml::Toml, xml::Xml},
    rows::{Context, Part, Patch, connector, gateway_part, keystore, parts, undefined},
    secret::{Secret, Secrets},
    setup::View,
    text::Text,
    version::Version,
};

/// Passes over a file at the most: mending one place may bring up another.
const PASSES_MAX: usize = 4;

/// What a node's home needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The home's release.
    pub version: Version,
    /// Files that change, or are new.
    pub files: Vec<FilePlan>,
    /// Files that are as they should be already.
    pub intact: Vec<FilePlan>,
    /// What is not as it should be, in the order of the steps.
    pub findings: Vec<Finding>,
    /// Why nothing may be changed; then `files` must not be written.
    pub refusals: Vec<Refusal>,
}

/// A file that changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilePlan {
    /// Relative to `APIM_HOME`.
    pub path: String,
    /// What is there now.
    pub before: Option<Vec<u8>>,
    /// What comes instead.
    pub after: Vec<u8>,
    /// Whether it holds a password, and so is for its owner only.
    pub secret: bool,
    /// Both, without passwords.
    shown: (String, String),
}

impl FilePlan {
    /// A unified diff; passwords are masked.
    #[must_use]
    pub fn diff(&self) -> String {
        let (before, after) = &self.shown;
        let old = match self.before {
            Some(_) => format!("a/{}", self.path),
            None => "/dev/null".to_owned(),
        };
        let diff = TextDiff::from_lines(before.as_str(), after.as_str());
        diff.unified_diff()
            .context_radius(3)
            .header(&old, &format!("b/{}", self.path))
            .to_string()
    }
}

/// Looks at every file of a node's home.
///
/// # Errors
/// When the home is of no known release, or of several.
pub fn plan(home: &Home, view: View<'_>, secrets: &Secrets) -> Result<Plan, HomeError> {
    let version = home.version(view.setup.version)?;
    let context = Context {
        view,
        version,
        secrets,
    };
    let mut plan = Plan::of(version);
    let (parts, unclear) = parts(home, &context);
    for part in &parts {
        if let Err(refusal) = look(home, part, &context, &mut plan) {
            plan.refuse(part.rows, refusal);
        }
    }
    if let Some(refusal) = unclear {
        plan.refuse(&[Row::Publishers], refusal);
    }
    plan.findings
        .extend(undefined(home, |path| plan.text(path)));
    plan.findings.extend(connector(home, &context));
    plan.findings.extend(keystore(home, &context));
    plan.findings.sort_by_key(|finding| finding.row);
    Ok(plan)
}

/// Looks only at where APIs are published to, which follows a promotion.
/// Whatever else is in the home stays, damaged or not.
///
/// # Errors
/// When the home is of no known release, or of several.
pub fn gateway_plan(home: &Home, view: View<'_>) -> Result<Plan, HomeError> {
    let version = home.version(view.setup.version)?;
    // Nothing that needs a password is edited.
    let none = Secrets {
        database: Secret::new(""),
        admin: Secret::new(""),
    };
    let context = Context {
        view,
        version,
        secrets: &none,
    };
    let mut plan = Plan::of(version);
    let part = gateway_part(version);
    if let Err(refusal) = look(home, &part, &context, &mut plan) {
        plan.refuse(part.rows, refusal);
    }
    Ok(plan)
}

impl Plan {
    fn of(version: Version) -> Self {
        Self {
            version,
            files: Vec::new(),
            intact: Vec::new(),
            findings: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// A file as it will be; nothing where it was refused or does not belong to
    /// the setup.
    fn text(&self, path: &str) -> Option<String> {
        let mut files = self.files.iter().chain(&self.intact);
        let file = files.find(|file| file.path == path)?;
        Text::of_xml(&file.after).ok().map(|text| text.text)
    }

    /// A file that is not understood: every step that it takes is open.
    fn refuse(&mut self, rows: &[Row], refusal: Refusal) {
        self.findings.extend(rows.iter().map(|row| Finding {
            row: *row,
            state: State::Damaged,
            file: refusal.file.clone(),
            line: refusal.line,
            place: "the file".into(),
            found: Some(refusal.reason.clone()),
            wanted: None,
            why: "it is not changed, and neither is any other file of this home".into(),
        }));
        self.refusals.push(refusal);
    }
}

fn look(home: &Home, part: &Part, context: &Context<'_>, plan: &mut Plan) -> Result<(), Refusal> {
    match (home.file(&part.path), &part.made) {
        (Some(bytes), _) => present((bytes, home.is_readable(&part.path)), part, context, plan),
        (None, Some(made)) => {
            plan.findings.push(Finding {
                row: part.rows[0],
                state: State::Missing,
                file: part.path.clone(),
                line: None,
                place: "the file".into(),
                found: None,
                wanted: Some("a new file".into()),
                why: "the other node gets no throttle decisions of this one".into(),
            });
            plan.files.push(FilePlan {
                path: part.path.clone(),
                before: None,
                after: made.clone().into_bytes(),
                secret: part.secret,
                shown: masked(&part.path, "", made),
            });
            Ok(())
        }
        (None, None) => Err(Refusal {
            file: part.path.clone(),
            line: None,
            reason: "it is missing, and every home has it".into(),
        }),
    }
}

/// A file that is there; `readable` is whether others than its owner can read it.
fn present(
    (bytes, readable): (&[u8], bool),
    part: &Part,
    context: &Context<'_>,
    plan: &mut Plan,
) -> Result<(), Refusal> {
    let original = decode(bytes, part)?;
    let mut text = original.text.clone();
    for pass in 0.. {
        let changes = changes(&text, part, context)?;
        // Every pass finds them again.
        if pass == 0 {
            plan.findings.extend(changes.by_hand.iter().cloned());
        }
        plan.findings.extend(changes.findings.iter().cloned());
        if changes.edits.is_empty() {
            break;
        }
        if pass == PASSES_MAX {
            return Err(Refusal {
                file: part.path.clone(),
                line: None,
                reason: "mending one place of it brings up another without end".into(),
            });
        }
        text = changes.applied_to(&text);
    }
    let file = FilePlan {
        path: part.path.clone(),
        before: Some(bytes.to_vec()),
        after: original.encode(&text),
        secret: part.secret,
        shown: masked(&part.path, &original.text, &text),
    };
    let open = part.secret && readable;
    if open {
        plan.findings.push(Finding {
            row: part.rows[0],
            state: State::Wrong,
            file: part.path.clone(),
            line: None,
            place: "the file's mode".into(),
            found: Some("others than its owner can read it".into()),
            wanted: Some("0600".into()),
            why: "it holds a password".into(),
        });
    }
    if text == original.text && !open {
        plan.intact.push(file);
    } else {
        plan.files.push(file);
    }
    Ok(())
}

fn decode(bytes: &[u8], part: &Part) -> Result<Text, Refusal> {
    let text = match part.patch {
        Patch::Xml(_) => Text::of_xml(bytes),
        Patch::Properties(_) => Text::of_latin1(bytes),
        Patch::SiteJson(_) | Patch::Toml(_) => Text::of_utf8(bytes),
    };
    text.map_err(|error| Refusal {
        file: part.path.clone(),
        line: None,
        reason: error.to_string(),
    })
}

fn changes(text: &str, part: &Part, context: &Context<'_>) -> Result<Changes, Refusal> {
    let mut changes = Changes::default();
    let path = part.path.as_str();
    match part.patch {
        Patch::Xml(patch) => patch(&Xml::parse(path, text)?, context, &mut changes)?,
        Patch::Properties(patch) => {
            patch(&Properties::parse(path, text), context, &mut changes)?;
        }
        Patch::SiteJson(patch) => patch(&SiteJson::parse(path, text)?, context, &mut changes)?,
        Patch::Toml(patch) => patch(&Toml::parse(path, text)?, context, &mut changes)?,
    }
    Ok(changes)
}

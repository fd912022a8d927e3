//! `rollback`: the content of an earlier generation becomes a new one.

use sync_daemon::control::{self, Request};

use super::{Context, check_tree, push::Shown};
use crate::{args::Rollback, backend, error::Outcome};

pub(crate) async fn run(context: &Context, args: Rollback) -> Outcome {
    let config = context.config()?;
    check_tree(&config, args.tree.as_deref())?;
    let shown = Shown::new(context, &config, args.itemize_changes, args.dry_run);
    let request = Request::Rollback(control::Rollback {
        generation: args.generation,
        tree: args.tree,
        only: args.only,
        tenant: args.tenant,
        dry_run: args.dry_run,
    });
    let work = backend::ask(&config, request, |event| shown.event(context, event));
    backend::within(args.timeout.timeout, "rolling back", &config, work).await
}

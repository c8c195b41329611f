//! The last backup and the last drill, by what `azaion-backup` leaves in `status/backup.json`.

use super::{Context, Found};

/// What is known of backups.
#[derive(Clone, Debug)]
pub struct Last;

pub(super) fn look(_: &Context) -> Found {
    Found::default()
}

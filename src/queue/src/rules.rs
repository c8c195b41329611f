//! What each message does to the tree (QUE-3). Pure but for the look at where a name lives.
//!
//! Whether a message can be used at all is decided from the message alone, before the tree is asked; the one exception is an
//! edit of an unknown name, which the tree remembers as missed. So a replay decides as the first reading did.

use annotation::{Annotation, AnnotationStatus, Bulk, BulkStatus, Message, Name, Role, Status, sniff_image};
use bytes::Bytes;
use store::{Batch, Entry, Home, Media};

/// What became of a message.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) done: Done,
    /// Why it, or part of it, cannot be used: it goes to quarantine.
    pub(crate) refused: Option<Refused>,
}

/// Why a message goes to quarantine.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Short, stable, countable.
    pub(crate) kind: &'static str,
    /// For people; holds no personal data.
    pub(crate) reason: String,
}

/// What a message did.
#[derive(Debug)]
pub(crate) enum Done {
    /// Nothing: it cannot be used.
    Nothing,
    /// A new annotation, by a Created or by an Edited that brought its image.
    Created { name: Name, status: Status, role: Role },
    /// A new label for a known annotation.
    Edited { name: Name, role: Role },
    /// A Created for a name that lives somewhere.
    Duplicate { name: Name },
    /// An Edited for an annotation that is deleted or out of circulation.
    Withdrawn { name: Name },
    /// An Edited without an image for an unknown name.
    Missed,
    /// A bulk message, by the number of its names.
    Bulk {
        status: BulkStatus,
        moved: u64,
        in_place: u64,
        unknown: u64,
        withdrawn: u64,
    },
}

impl Outcome {
    pub(crate) fn refused(kind: &'static str, reason: String) -> Self {
        Self {
            done: Done::Nothing,
            refused: Some(Refused { kind, reason }),
        }
    }
}

impl From<Done> for Outcome {
    fn from(done: Done) -> Self {
        Self { done, refused: None }
    }
}

/// Applies the message at `offset`.
pub(crate) fn apply(batch: &mut Batch<'_>, offset: u64, message: Message) -> store::Result<Outcome> {
    match message {
        Message::Annotation(annotation) => match usable_image(&annotation) {
            Err(refused) => Ok(Outcome {
                done: Done::Nothing,
                refused: Some(refused),
            }),
            Ok(image) => match annotation.status {
                AnnotationStatus::Created => created(batch, offset, annotation, image),
                AnnotationStatus::Edited => edited(batch, offset, annotation, image),
            },
        },
        Message::Bulk(bulk) => apply_bulk(batch, offset, &bulk),
    }
}

/// The image the message brings, if it is one by its first bytes. It is not decoded: dataset forming finds a broken one.
pub(crate) fn usable_image(annotation: &Annotation) -> Result<Option<Bytes>, Refused> {
    let Some(image) = annotation.image.as_ref().filter(|image| !image.is_empty()) else {
        return Ok(None);
    };
    match sniff_image(image) {
        Some(_) => Ok(Some(image.clone())),
        None => Err(Refused {
            kind: "not-an-image",
            reason: format!(
                "the image of {} ({} bytes) is neither JPEG, PNG, BMP nor WebP",
                annotation.name,
                image.len()
            ),
        }),
    }
}

fn created(
    batch: &mut Batch<'_>,
    offset: u64,
    annotation: Annotation,
    image: Option<Bytes>,
) -> store::Result<Outcome> {
    let Some(image) = image else {
        return Ok(Outcome::refused(
            "image-missing",
            format!("{} was created without an image", annotation.name),
        ));
    };
    Ok(
        match batch.entry(offset, Some(annotation.role), &annotation.name)? {
            Entry::Unknown(entry) => {
                entry.taken_from(Media::of(&annotation.media_name)).create(
                    home_of_new(annotation.role),
                    image,
                    annotation.label.to_string(),
                );
                Done::Created {
                    name: annotation.name,
                    status: Status::Created,
                    role: annotation.role,
                }
            }
            Entry::Known(entry) => {
                entry.ignore();
                Done::Duplicate {
                    name: annotation.name,
                }
            }
            Entry::Missed => Done::Duplicate {
                name: annotation.name,
            },
        }
        .into(),
    )
}

fn edited(
    batch: &mut Batch<'_>,
    offset: u64,
    annotation: Annotation,
    image: Option<Bytes>,
) -> store::Result<Outcome> {
    let Annotation {
        name,
        role,
        label,
        media_name,
        ..
    } = annotation;
    let missed = |name: &Name| Outcome {
        done: Done::Missed,
        refused: Some(Refused {
            kind: "unknown-name",
            reason: format!("{name} was edited before it was created, and the message has no image"),
        }),
    };
    Ok(match (batch.entry(offset, Some(role), &name)?, image) {
        (Entry::Known(entry), _) if matches!(entry.home(), Home::Deleted | Home::Corrupted) => {
            entry.ignore();
            Done::Withdrawn { name }.into()
        }
        (Entry::Known(entry), _) => {
            if role.is_validator() {
                entry.edit_and_validate(label.to_string());
            } else {
                entry.edit(label.to_string());
            }
            Done::Edited { name, role }.into()
        }
        (Entry::Unknown(entry), Some(image)) => {
            entry
                .taken_from(Media::of(&media_name))
                .create(home_of_new(role), image, label.to_string());
            Done::Created {
                name,
                status: Status::Edited,
                role,
            }
            .into()
        }
        (Entry::Unknown(entry), None) => {
            entry.miss(Status::Edited);
            missed(&name)
        }
        (Entry::Missed, _) => missed(&name),
    })
}

fn home_of_new(role: Role) -> Home {
    if role.is_validator() {
        Home::Data
    } else {
        Home::Seed
    }
}

/// Moves the names that can be moved. If a name is unsafe, the others still move and the message is kept in quarantine.
fn apply_bulk(batch: &mut Batch<'_>, offset: u64, bulk: &Bulk) -> store::Result<Outcome> {
    let (mut moved, mut in_place, mut unknown, mut withdrawn) = (0, 0, 0, 0);
    for name in bulk.names.iter().flatten() {
        match batch.entry(offset, None, name)? {
            Entry::Missed => unknown += 1,
            Entry::Unknown(entry) => {
                entry.miss(bulk.status.into());
                unknown += 1;
            }
            Entry::Known(entry) => match (bulk.status, entry.home()) {
                (BulkStatus::Validated, Home::Data) | (BulkStatus::Deleted, Home::Deleted) => {
                    entry.ignore();
                    in_place += 1;
                }
                (BulkStatus::Validated, Home::Deleted | Home::Corrupted) => {
                    entry.ignore();
                    withdrawn += 1;
                }
                (BulkStatus::Validated, Home::Seed) => {
                    entry.validate();
                    moved += 1;
                }
                (BulkStatus::Deleted, Home::Seed | Home::Data | Home::Corrupted) => {
                    entry.delete();
                    moved += 1;
                }
            },
        }
    }
    let done = Done::Bulk {
        status: bulk.status,
        moved,
        in_place,
        unknown,
        withdrawn,
    };
    Ok(Outcome {
        done,
        refused: unsafe_names(bulk),
    })
}

fn unsafe_names(bulk: &Bulk) -> Option<Refused> {
    let mut errors = bulk
        .names
        .iter()
        .enumerate()
        .filter_map(|(index, name)| Some((index, name.as_ref().err()?)));
    let (index, error) = errors.next()?;
    let more = errors.count();
    Some(Refused {
        kind: "name",
        reason: format!(
            "names[{index}] of {}: {error}; {more} more are unsafe",
            bulk.names.len()
        ),
    })
}

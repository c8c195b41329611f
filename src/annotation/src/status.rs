//! The small enumerations of a message and the numbers that stand for them on the wire (QUE-1, QUE-2).

use std::fmt;

/// What a message says about its annotations: the routing value of every message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Status {
    /// A new annotation.
    Created = 10,
    /// Its detections were changed.
    Edited = 20,
    /// Approved by a validator.
    Validated = 30,
    /// Withdrawn; final.
    Deleted = 40,
}

/// The statuses of a message that carries one annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AnnotationStatus {
    /// A new annotation.
    Created = 10,
    /// Its detections were changed.
    Edited = 20,
}

/// The statuses of a message that names many annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BulkStatus {
    /// Approved by a validator.
    Validated = 30,
    /// Withdrawn; final.
    Deleted = 40,
}

/// Who made or changed an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Role {
    /// Annotates.
    Operator = 10,
    /// Annotates and approves.
    Validator = 20,
    /// A program that annotates.
    CompanionPC = 30,
    /// Administers; approves too.
    Admin = 40,
    /// The interface's own administrator; approves too.
    ApiAdmin = 1000,
}

/// Whether a person or a model drew the boxes (index 9, `source`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Origin {
    /// A model.
    Ai = 0,
    /// A person.
    Manual = 1,
}

impl Status {
    const ALL: [Self; 4] = [Self::Created, Self::Edited, Self::Validated, Self::Deleted];

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The status that `number` stands for.
    pub fn from_number(number: i128) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|status| i128::from(status.number()) == number)
    }

    /// The status of this name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(name))
    }

    /// Its name: `Created`, `Edited`, `Validated` or `Deleted`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Edited => "Edited",
            Self::Validated => "Validated",
            Self::Deleted => "Deleted",
        }
    }
}

impl From<AnnotationStatus> for Status {
    fn from(status: AnnotationStatus) -> Self {
        match status {
            AnnotationStatus::Created => Self::Created,
            AnnotationStatus::Edited => Self::Edited,
        }
    }
}

impl From<BulkStatus> for Status {
    fn from(status: BulkStatus) -> Self {
        match status {
            BulkStatus::Validated => Self::Validated,
            BulkStatus::Deleted => Self::Deleted,
        }
    }
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] = [
        Self::Operator,
        Self::Validator,
        Self::CompanionPC,
        Self::Admin,
        Self::ApiAdmin,
    ];

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The role that `number` stands for.
    pub fn from_number(number: i128) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|role| i128::from(role.number()) == number)
    }

    /// Whether this role approves: its annotations go straight to the validated ones.
    pub const fn is_validator(self) -> bool {
        matches!(self, Self::Validator | Self::Admin | Self::ApiAdmin)
    }

    /// Its name, as the producer spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "Operator",
            Self::Validator => "Validator",
            Self::CompanionPC => "CompanionPC",
            Self::Admin => "Admin",
            Self::ApiAdmin => "ApiAdmin",
        }
    }
}

impl Origin {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The origin that `number` stands for.
    pub fn from_number(number: i128) -> Option<Self> {
        [Self::Ai, Self::Manual]
            .into_iter()
            .find(|origin| i128::from(origin.number()) == number)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for AnnotationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Status::from(*self).fmt(f)
    }
}

impl fmt::Display for BulkStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Status::from(*self).fmt(f)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_wire() {
        let statuses = [
            (10, "Created"),
            (20, "Edited"),
            (30, "Validated"),
            (40, "Deleted"),
        ];
        for (number, name) in statuses {
            let status = Status::from_number(number).unwrap();
            assert_eq!((i128::from(status.number()), status.as_str()), (number, name));
            for spelling in [name.to_lowercase(), name.to_uppercase()] {
                assert_eq!(Status::from_name(&spelling), Some(status));
            }
        }
        for unknown in [0, 11, 50, -10, 266, i128::from(u64::MAX)] {
            assert_eq!(Status::from_number(unknown), None);
        }
        assert_eq!(Status::from_name("Create"), None);
    }

    #[test]
    fn validators_are_validator_admin_and_api_admin() {
        let approving = |number| Role::from_number(number).map(Role::is_validator);
        assert_eq!(
            [10, 20, 30, 40, 1000].map(approving),
            [false, true, false, true, true].map(Some)
        );
        assert_eq!([0, 50, 1010].map(approving), [None; 3]);
    }
}

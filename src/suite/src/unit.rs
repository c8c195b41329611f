//! A unit file as systemd.syntax(7) has it: sections of assignments, in their order, a name as often as it is written.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

/// A unit file, or a drop-in of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Section, name, value.
    assignments: Vec<(String, String, String)>,
    comments: String,
}

impl Unit {
    /// Reads the file of the unit `name` in `folder`.
    ///
    /// # Errors
    /// It cannot be read, or a line of it is neither section, assignment nor comment.
    pub fn read(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let path = folder.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// The text of a unit file. Lines that go on behind a backslash are not known here: no unit of ours has one.
    ///
    /// # Errors
    /// The number of the line that is not understood.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut unit = Self {
            assignments: Vec::new(),
            comments: String::new(),
        };
        let mut section = None;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(comment) = line.strip_prefix(['#', ';']) {
                unit.comments.push_str(comment);
            } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = Some(name.to_owned());
            } else if let (Some((name, value)), Some(section)) = (line.split_once('='), &section) {
                let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
                unit.assignments.push((section.clone(), name, value));
            } else if !line.is_empty() {
                bail!("line {}: neither section, assignment nor comment", number + 1);
            }
        }
        Ok(unit)
    }

    /// Every value of `name` in `section`.
    #[must_use]
    pub fn all(&self, section: &str, name: &str) -> Vec<&str> {
        self.assignments
            .iter()
            .filter(|(its_section, its_name, _)| its_section == section && its_name == name)
            .map(|(_, _, value)| value.as_str())
            .collect()
    }

    /// The value of `name` in `section`, the last one where there are several.
    #[must_use]
    pub fn get(&self, section: &str, name: &str) -> Option<&str> {
        self.all(section, name).pop()
    }

    /// Whether `name` is assigned in any section.
    #[must_use]
    pub fn assigns(&self, name: &str) -> bool {
        self.assignments.iter().any(|(_, its_name, _)| its_name == name)
    }

    /// All comments as one text.
    #[must_use]
    pub fn comments(&self) -> &str {
        &self.comments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_all_its_values_and_only_those_of_its_section() {
        let unit = Unit::parse("# why\n[Unit]\nAfter=a\n\n[Service]\nAfter=x\n[Unit]\nAfter=b c\n").unwrap();
        assert_eq!(unit.all("Unit", "After"), ["a", "b c"]);
        assert_eq!(unit.get("Service", "After"), Some("x"));
        assert_eq!(unit.get("Install", "After"), None);
        assert!(unit.assigns("After") && !unit.assigns("Before"));
        assert_eq!(unit.comments(), " why");
    }

    #[test]
    fn what_is_no_assignment_is_named_by_its_line() {
        let error = Unit::parse("[Unit]\nAfter\n").unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        assert!(Unit::parse("After=a\n").is_err(), "an assignment in no section");
    }
}

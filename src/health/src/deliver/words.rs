//! Notices in words: a subject that says it on a watch's face, and a text that says what to do.

use super::Words;
use crate::alerts::{Notice, Occasion};
use jiff::tz::TimeZone;
use std::fmt::Write as _;

/// The subject of a message.
#[must_use]
pub fn subject(notices: &[Notice], words: &Words) -> String {
    let Some(first) = leading(notices) else {
        return format!("[azaion {}] nothing to tell", words.host);
    };
    let what = match first.occasion {
        Occasion::Firing => first.severity.to_string().to_uppercase(),
        Occasion::Reminder => format!("{} STILL", first.severity.to_string().to_uppercase()),
        Occasion::Resolved => "RESOLVED".to_owned(),
        Occasion::Test => "TEST".to_owned(),
    };
    let more = match notices.len() {
        0 | 1 => String::new(),
        all => format!(" (and {} more)", all - 1),
    };
    // Of a header a line end would make another one.
    let line = format!(
        "[azaion {}] {what}: {}, {}{more}",
        words.host, first.title, first.subject
    );
    line.replace(['\r', '\n'], " ")
}

/// The one that stands for all: what begins before what is over, and the most urgent.
#[must_use]
pub fn leading(notices: &[Notice]) -> Option<&Notice> {
    notices.iter().min_by_key(|notice| {
        (
            notice.occasion == Occasion::Resolved,
            std::cmp::Reverse(notice.severity),
            notice.occasion,
        )
    })
}

/// The text of a message.
#[must_use]
pub fn text(notices: &[Notice], words: &Words) -> String {
    let mut text = String::new();
    for (i, notice) in notices.iter().enumerate() {
        if i > 0 {
            text.push_str("\n----------------------------------------\n\n");
        }
        // Writing to a string does not fail.
        let _ = one(&mut text, notice, words);
    }
    text
}

fn one(text: &mut String, notice: &Notice, words: &Words) -> std::fmt::Result {
    let zone = TimeZone::system();
    let time = |at: jiff::Timestamp| at.to_zoned(zone.clone()).strftime("%F %T %Z").to_string();
    let Notice {
        code,
        severity,
        title,
        subject,
        what,
        ..
    } = notice;
    match notice.occasion {
        Occasion::Test => {
            writeln!(
                text,
                "This is a test: alerts of azaion on {} arrive here.",
                words.host
            )?;
            return writeln!(text, "Sent {} with: azaion alerts test", time(notice.at));
        }
        Occasion::Resolved => {
            writeln!(text, "{code} {title}, {subject}: it is over.")?;
            writeln!(text, "It was: {what}")?;
            return writeln!(
                text,
                "From {} to {}, on {}.",
                time(notice.since),
                time(notice.at),
                words.host
            );
        }
        Occasion::Firing => writeln!(text, "{code} {title} ({severity})")?,
        Occasion::Reminder => writeln!(text, "{code} {title} ({severity}), still")?,
    }
    writeln!(text)?;
    writeln!(text, "What:          {subject}: {what}")?;
    writeln!(text, "Since:         {}, on {}", time(notice.since), words.host)?;
    writeln!(text, "Likely cause:  {}", notice.cause)?;
    writeln!(text, "Done already:  {}", notice.done)?;
    writeln!(text, "Type next:     {}", notice.next)?;
    writeln!(text, "Runbook:       {}#{}", words.runbook, notice.anchor)?;
    if !notice.journal.is_empty() {
        writeln!(text, "\nLast lines of its journal:")?;
        for line in &notice.journal {
            writeln!(text, "  {}", line.replace(['\r', '\n'], " "))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{alerts::Book, alerts::silence::Silences, reading::Reading};

    fn words() -> Words {
        Words {
            host: "gpu1".into(),
            runbook: "docs/RUNBOOK.md".into(),
        }
    }

    fn notice() -> Notice {
        let reading = Reading::problem("disk", "/azaion", "96 % used, 12 GB free").about("ALR-3");
        let now = "2026-03-28T14:30:00Z".parse().unwrap();
        let mut notices = Book::default().step(&[reading], Vec::new(), &Silences::default(), now);
        notices.remove(0)
    }

    #[test]
    fn an_alert_explains_itself() {
        let mut notice = notice();
        notice.journal = vec!["first\nsecond".into()];
        assert_eq!(
            subject(&[notice.clone()], &words()),
            "[azaion gpu1] CRITICAL: disk almost full, /azaion"
        );
        let told = text(&[notice], &words());
        for line in [
            "ALR-3 disk almost full (critical)",
            "What:          /azaion: 96 % used, 12 GB free",
            "Type next:     du -sh /azaion/datasets/* /azaion/models/* | sort -h | tail",
            "Runbook:       docs/RUNBOOK.md#alr-3-disk-almost-full",
            "  first second",
        ] {
            assert!(told.lines().any(|found| found == line), "no {line:?} in\n{told}");
        }
    }

    #[test]
    fn what_begins_leads_what_is_over_and_no_text_makes_a_header() {
        let over = Notice {
            occasion: Occasion::Resolved,
            ..notice()
        };
        let odd = Notice {
            subject: "x\r\nBcc: someone".into(),
            ..notice()
        };
        let subject = subject(&[over, odd], &words());
        assert_eq!(
            subject,
            "[azaion gpu1] CRITICAL: disk almost full, x  Bcc: someone (and 1 more)"
        );
    }
}

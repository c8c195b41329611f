//! The status as a page (DSH-2): one static file, readable on a phone, light and dark, with no script that it needs.
//!
//! A static page cannot know how old it is. It says when it was made and until when it holds. Where scripts run, a few lines
//! load it anew every minute and say so in bold once it has not been made anew for too long.

use crate::{
    Grade, Reading,
    checks::disk::{bytes, hours},
    status::{FRESH, Status},
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use report::Esc;
use std::fmt::{self, Display, Write as _};

const STYLE: &str = include_str!("page.css");
/// Says that the page is old. Its times are the machine's and the reader's: a minute of difference does not matter.
const SCRIPT: &str = "const e=document.getElementById('stale'),t=Date.parse(e.dataset.until);\
setInterval(f=()=>{e.hidden=Date.now()<t},5000);f();setTimeout(()=>location.reload(),60000)";

/// The page.
#[must_use]
pub fn html(status: &Status) -> String {
    let mut out = String::with_capacity(32 * 1024);
    // Writing to a string does not fail.
    let _ = page(&mut out, status);
    out
}

fn page(out: &mut String, status: &Status) -> fmt::Result {
    let until = status.at + FRESH;
    let grade = class(status.verdict.grade);
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}: {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>",
        Esc(class(status.verdict.grade)),
        Esc(&status.root)
    )?;
    writeln!(
        out,
        "<header>\n<p class=\"eyebrow\">azaion, {}</p>\n<div class=\"verdict {grade}\"><h1>{}</h1>\n<p>As of <time datetime=\"{}\">{}</time>; \
         stale after {}.</p></div>\n<p class=\"stale\" id=\"stale\" data-until=\"{until}\" hidden>This page is stale: azaion-health has not \
         looked since {}. Type: systemctl list-timers 'azaion-*'</p>\n</header>",
        Esc(&status.root),
        Esc(sentence(&status.verdict.line)),
        status.at,
        time(status.at),
        clock(until),
        time(status.at),
    )?;
    out.push_str("<div class=\"grid\">\n");
    alerts(out, status)?;
    queue(out, status)?;
    training(out, status)?;
    disk(out, status)?;
    gpus(out, status)?;
    model(out, status)?;
    backup(out, status)?;
    units(out, status)?;
    readings(out, status)?;
    history(out, status)?;
    out.push_str("</div>\n");
    let full = status.full_at.map_or_else(|| "never".to_owned(), time);
    writeln!(
        out,
        "<footer>Made by {}. Full check: {full}. The same as text: <code>azaion status</code></footer>\n</main>\n<script>{SCRIPT}</script>\n\
         </body>\n</html>",
        Esc(&status.by)
    )
}

fn alerts(out: &mut String, status: &Status) -> fmt::Result {
    if status.alerts.is_empty() {
        return Ok(());
    }
    out.push_str("<section class=\"card three\" aria-labelledby=\"h-alerts\"><h2 id=\"h-alerts\">Alerts</h2>\n<ul class=\"alerts\">\n");
    for alert in &status.alerts {
        let grade = if alert.severity >= crate::catalog::Severity::High {
            "problem"
        } else {
            "warning"
        };
        let silenced = if alert.silenced { ", silenced" } else { "" };
        writeln!(
            out,
            "<li><h3><span class=\"mark {grade}\">{}{silenced}</span> {} {}</h3>\n<p>{}: {}</p>\n<p class=\"note\">Since {}. Type next: \
             <code>{}</code></p></li>",
            alert.severity,
            Esc(&alert.code),
            Esc(&alert.title),
            Esc(&alert.subject),
            Esc(&alert.what),
            time(alert.since),
            Esc(&alert.next),
        )?;
    }
    out.push_str("</ul></section>\n");
    Ok(())
}

fn queue(out: &mut String, status: &Status) -> fmt::Result {
    let queue = &status.queue;
    begin(out, "Queue", "queue", "")?;
    match queue.offset {
        Some(offset) => writeln!(out, "<p class=\"big\">{offset} <small>offset</small></p>")?,
        None => out.push_str("<p class=\"big\">no offset <small>nothing was read yet</small></p>\n"),
    }
    let lag = queue
        .lag
        .map_or_else(|| "waiting: not known".to_owned(), |lag| format!("{lag} waiting"));
    let rate = queue
        .rate
        .map_or_else(String::new, |rate| format!(", {rate:.1} messages/s"));
    let quarantined = queue
        .quarantined
        .map_or_else(String::new, |count| format!(", {count} in quarantine"));
    writeln!(out, "<p class=\"note\">{lag}{rate}{quarantined}</p>")?;
    if queue.taken.iter().any(|taken| *taken > 0) {
        bars(out, &queue.taken, "Messages taken between checks, the last day")?;
    }
    end(out)
}

fn training(out: &mut String, status: &Status) -> fmt::Result {
    begin(out, "Training", "training", "two")?;
    let Some(run) = &status.training else {
        out.push_str("<p class=\"note\">No run yet.</p>\n");
        return end(out);
    };
    writeln!(
        out,
        "<p class=\"big\">{} <small>{}, epoch {} of {}</small></p>",
        Esc(&run.run),
        Esc(&run.phase),
        run.epoch,
        run.epochs
    )?;
    meter(out, 100.0 * run.share, "of the run is done")?;
    let number = |name: &str, value: Option<f64>| value.map(|value| format!("{name} {value:.3}"));
    let left = run
        .seconds_left
        .map(|left| format!("{} left", hours(SignedDuration::from_secs(left as i64))));
    let saved = run.saved.map(|saved| format!("saved {}", time(saved)));
    let facts = [
        number("loss", run.loss),
        number("mAP50", run.map50),
        number("mAP50-95", run.map50_95),
        left,
        saved,
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    writeln!(out, "<p class=\"note\">{}</p>", Esc(facts.join(", ")))?;
    curve(out, &run.curve, "mAP50-95 by epoch")?;
    curve(out, &run.losses, "Loss by epoch")?;
    if let Some(report) = &run.report {
        writeln!(
            out,
            "<p class=\"note\"><a href=\"{}\">The run's report</a></p>",
            Esc(report)
        )?;
    }
    end(out)
}

fn disk(out: &mut String, status: &Status) -> fmt::Result {
    begin(out, "Disk", "disk", "")?;
    match &status.disk {
        Some(disk) => {
            writeln!(
                out,
                "<p class=\"big\">{} <small>free of {}</small></p>",
                bytes(disk.free),
                bytes(disk.total)
            )?;
            meter(out, disk.used_pct(), "of the disk is used")?;
            let forecast = disk.full_in.map_or_else(
                || "does not fill up at this rate".to_owned(),
                |left| format!("full in {} at this rate", hours(left)),
            );
            writeln!(out, "<p class=\"note\">{forecast}</p>")?;
        }
        None => out.push_str("<p class=\"note\">Not known.</p>\n"),
    }
    if let Some(folders) = &status.folders {
        out.push_str("<table><caption class=\"note\">Folders</caption><tbody>\n");
        for (name, size) in &folders.bytes {
            writeln!(
                out,
                "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td></tr>",
                Esc(name),
                bytes(*size)
            )?;
        }
        writeln!(
            out,
            "</tbody></table>\n<p class=\"note\">Measured {}; images that datasets share with data are counted once.</p>",
            time(folders.at)
        )?;
    }
    end(out)
}

fn gpus(out: &mut String, status: &Status) -> fmt::Result {
    begin(out, "GPU", "gpu", "")?;
    if status.gpus.is_empty() {
        out.push_str("<p class=\"note\">None here.</p>\n");
    }
    for gpu in &status.gpus {
        let number = |value: Option<u32>, unit: &str| {
            value.map_or_else(|| "?".to_owned(), |value| format!("{value} {unit}"))
        };
        if let Some(error) = &gpu.error {
            writeln!(out, "<p>{}</p>", Esc(error))?;
            continue;
        }
        writeln!(
            out,
            "<p class=\"big\">{} <small>{} busy</small></p>\n<p class=\"note\">{}</p>",
            number(gpu.celsius, "°C"),
            number(gpu.busy_pct, "%"),
            Esc(&gpu.name)
        )?;
        if let (Some(used), Some(total)) = (gpu.used_bytes, gpu.total_bytes) {
            meter(
                out,
                100.0 * used as f64 / total.max(1) as f64,
                "of its memory is used",
            )?;
        }
    }
    end(out)
}

fn model(out: &mut String, status: &Status) -> fmt::Result {
    begin(out, "Model in service", "model", "")?;
    match &status.model {
        Some(model) => {
            let since = model
                .since
                .map_or_else(String::new, |since| format!("written {}", time(since)));
            writeln!(
                out,
                "<p class=\"big\">{}</p>\n<p class=\"note\">{since}</p>",
                Esc(&model.run)
            )?;
        }
        None => out.push_str(
            "<p class=\"note\">None yet: the first run that finishes puts its best model there.</p>\n",
        ),
    }
    end(out)
}

fn units(out: &mut String, status: &Status) -> fmt::Result {
    if status.units.is_empty() {
        return Ok(());
    }
    begin(out, "Units", "units", "three")?;
    out.push_str("<table><thead><tr><th scope=\"col\">Unit</th><th scope=\"col\">State</th><th scope=\"col\">Says</th></tr></thead><tbody>\n");
    for unit in &status.units {
        let grade = match unit.active.as_str() {
            "active" => "ok",
            "failed" => "problem",
            _ => "skipped",
        };
        writeln!(
            out,
            "<tr><td>{}</td><td><span class=\"mark {grade}\">{}</span></td><td>{}</td></tr>",
            Esc(&unit.name),
            Esc(&unit.active),
            Esc(unit.says.as_deref().unwrap_or_default())
        )?;
    }
    out.push_str("</tbody></table>\n");
    end(out)
}

fn readings(out: &mut String, status: &Status) -> fmt::Result {
    begin(out, "Checks", "checks", "three")?;
    let (well, found): (Vec<_>, Vec<_>) = status.readings.iter().partition(|one| one.grade == Grade::Ok);
    if !found.is_empty() {
        table(out, &found)?;
    }
    // What is well is there for those who ask.
    writeln!(out, "<details><summary>{} things are well</summary>", well.len())?;
    table(out, &well)?;
    out.push_str("</details>\n");
    end(out)
}

fn table(out: &mut String, readings: &[&Reading]) -> fmt::Result {
    out.push_str(
        "<table class=\"readings\"><thead><tr><th scope=\"col\">Check</th><th scope=\"col\">Grade</th><th scope=\"col\">About</th>\
         <th scope=\"col\">Found</th></tr></thead><tbody>\n",
    );
    for reading in readings {
        let grade = class(reading.grade);
        writeln!(
            out,
            "<tr><td>{}</td><td><span class=\"mark {grade}\">{grade}</span></td><td>{}</td><td>{}</td></tr>",
            Esc(&reading.check),
            Esc(&reading.subject),
            Esc(&reading.what)
        )?;
    }
    out.push_str("</tbody></table>\n");
    Ok(())
}

fn backup(out: &mut String, status: &Status) -> fmt::Result {
    let Some(backups) = &status.backups else {
        return Ok(());
    };
    let at = |seconds: u64| {
        Timestamp::from_second(seconds.try_into().unwrap_or(i64::MAX)).map_or_else(|_| "?".to_owned(), time)
    };
    begin(out, "Backup", "backup", "three")?;
    match &backups.backup {
        Some(taken) => writeln!(
            out,
            "<p class=\"big\">{} <small>{} files, {}, to {}</small></p>",
            at(taken.at),
            taken.files,
            bytes(taken.bytes),
            Esc(&backups.repository)
        )?,
        None => writeln!(
            out,
            "<p class=\"big\">none yet <small>to {}</small></p>",
            Esc(&backups.repository)
        )?,
    }
    let problems = |problems: &[String]| match problems.first() {
        None => "nothing found".to_owned(),
        Some(first) => format!("found {} problems, the first: {first}", problems.len()),
    };
    if let Some(check) = &backups.check {
        writeln!(
            out,
            "<p class=\"note\">Checked {}: {}</p>",
            at(check.at),
            Esc(problems(&check.problems))
        )?;
    }
    match &backups.drill {
        Some(drill) => writeln!(
            out,
            "<p class=\"note\">Drilled {}, {} files restored: {}</p>",
            at(drill.at),
            drill.files,
            Esc(problems(&drill.problems))
        )?,
        None => writeln!(out, "<p class=\"note\">Not drilled yet.</p>")?,
    }
    if let Some(failed) = &backups.error {
        writeln!(
            out,
            "<p class=\"note\">The last {} failed {}: {}</p>",
            Esc(&failed.what),
            at(failed.at),
            Esc(&failed.reason)
        )?;
    }
    end(out)
}

fn history(out: &mut String, status: &Status) -> fmt::Result {
    if status.over.is_empty() {
        return Ok(());
    }
    begin(out, "Alerts that are over", "over", "three")?;
    out.push_str(
        "<table class=\"readings\"><thead><tr><th scope=\"col\">From</th><th scope=\"col\">Until</th><th scope=\"col\">Alert</th>\
         <th scope=\"col\">What it was</th></tr></thead><tbody>\n",
    );
    for one in &status.over {
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{} {}</td><td>{}</td></tr>",
            time(one.since),
            time(one.until),
            Esc(&one.code),
            Esc(&one.subject),
            Esc(&one.what)
        )?;
    }
    out.push_str("</tbody></table>\n");
    end(out)
}

fn begin(out: &mut String, heading: &str, id: &str, wide: &str) -> fmt::Result {
    writeln!(
        out,
        "<section class=\"card {wide}\" aria-labelledby=\"h-{id}\"><h2 id=\"h-{id}\">{heading}</h2>"
    )
}

fn end(out: &mut String) -> fmt::Result {
    out.push_str("</section>\n");
    Ok(())
}

fn meter(out: &mut String, percent: f64, of: &str) -> fmt::Result {
    let percent = percent.clamp(0.0, 100.0);
    writeln!(
        out,
        "<div class=\"meter\" role=\"img\" aria-label=\"{percent:.0} % {of}\"><i style=\"width:{percent:.1}%\"></i></div>\n<p class=\"note\">{percent:.0} % {of}</p>"
    )
}

/// A line, with its range in words.
fn curve(out: &mut String, values: &[f64], what: &str) -> fmt::Result {
    let (Some(first), Some(last)) = (values.first(), values.last()) else {
        return Ok(());
    };
    if values.len() < 2 {
        return Ok(());
    }
    let most = values.iter().copied().fold(f64::MIN, f64::max);
    let least = values.iter().copied().fold(f64::MAX, f64::min);
    let span = (most - least).max(1e-9);
    let step = 300.0 / (values.len() - 1) as f64;
    let points = values.iter().enumerate().map(|(i, value)| {
        format!(
            "{:.1},{:.1}",
            i as f64 * step,
            46.0 - 42.0 * (value - least) / span
        )
    });
    let points = points.collect::<Vec<_>>().join(" ");
    writeln!(
        out,
        "<figure><svg viewBox=\"0 0 300 50\" preserveAspectRatio=\"none\" height=\"50\" role=\"img\" aria-label=\"{what}, from {first:.3} to {last:.3}\">\
         <polygon class=\"fill\" points=\"0,50 {points} 300,50\"/><polyline class=\"curve\" points=\"{points}\"/></svg>\
         <figcaption class=\"note\">{what}: {first:.3} to {last:.3}</figcaption></figure>"
    )
}

/// Bars, at most a hundred: neighbours are added up.
fn bars(out: &mut String, values: &[u64], what: &str) -> fmt::Result {
    let each = values.len().div_ceil(100).max(1);
    let sums: Vec<u64> = values.chunks(each).map(|chunk| chunk.iter().sum()).collect();
    let most = sums.iter().copied().max().unwrap_or(1).max(1);
    let width = 300.0 / sums.len() as f64;
    let total: u64 = values.iter().sum();
    write!(
        out,
        "<figure><svg viewBox=\"0 0 300 50\" preserveAspectRatio=\"none\" height=\"50\" role=\"img\" aria-label=\"{what}: {total} in all\">"
    )?;
    for (i, sum) in sums.iter().enumerate() {
        let height = 48.0 * *sum as f64 / most as f64;
        write!(
            out,
            "<rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
            i as f64 * width,
            50.0 - height,
            width * 0.8
        )?;
    }
    writeln!(
        out,
        "</svg><figcaption class=\"note\">{what}: {total} in all</figcaption></figure>"
    )
}

const fn class(grade: Grade) -> &'static str {
    match grade {
        Grade::Ok => "ok",
        Grade::Skipped => "skipped",
        Grade::Warning => "warning",
        Grade::Problem => "problem",
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%F %H:%M").to_string()
}

fn clock(at: Timestamp) -> impl Display {
    at.to_zoned(TimeZone::system()).strftime("%H:%M %Z").to_string()
}

//! The screen: five parts, each drawn from what was seen, from 80 columns and 24 rows on.
//!
//! A narrow screen has the curves as bars of the last epochs, a tall one as lines with axes; a wide one puts them beside the
//! numbers. Colours are the terminal's own sixteen, and no meaning is in a colour alone.

use super::seen::{Alert, Disk, Queue, Seen};
use crate::runs::{Look, Standing, gigabytes, span};
use gpu::Gpu;
use jiff::Timestamp;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize},
    symbols::Marker,
    text::{Line, Span},
    widgets::{Axis, Block, BorderType, Chart, Dataset, GraphType, Paragraph, Sparkline},
};
use report::EpochRow;
use runs::Status;

/// From so many rows on, curves have axes.
const CHART_ROWS: u16 = 8;
/// From so many columns on, numbers and curves are side by side.
const WIDE: u16 = 130;
const QUIET: Style = Style::new().fg(Color::DarkGray);
const LABEL: Style = Style::new().fg(Color::Cyan);
const WRONG: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const WARNING: Style = Style::new().fg(Color::Yellow);

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, seen: &Seen) {
    let rest = if frame.area().height < 34 { 6 } else { 8 };
    let [head, run, middle, bottom, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(8),
        Constraint::Length(rest),
        Constraint::Length(rest),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let halves = |area| Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas::<2>(area);
    draw_head(frame, head, seen);
    draw_run(frame, run, seen);
    let [left, right] = halves(middle);
    part(
        frame,
        left,
        "GPU",
        gpu_lines(&seen.gpus, left.width.saturating_sub(2)),
    );
    part(
        frame,
        right,
        "queue",
        queue_lines(&seen.queue, right.width.saturating_sub(2)),
    );
    let [left, right] = halves(bottom);
    part(
        frame,
        left,
        "disk",
        disk_lines(&seen.disk, left.width.saturating_sub(2)),
    );
    part(
        frame,
        right,
        &alerts_title(&seen.alerts),
        alert_lines(&seen.alerts),
    );
    frame.render_widget(Line::styled(" q quit   ←→ other runs", QUIET), foot);
}

fn block(title: &str) -> Block<'_> {
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(QUIET)
        .title(Line::styled(
            format!(" {title} "),
            Style::reset().add_modifier(Modifier::BOLD),
        ))
}

fn part(frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'_>>) {
    frame.render_widget(Paragraph::new(lines).block(block(title)), area);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, seen: &Seen) {
    let time = seen.now.strftime("%F %TZ").to_string();
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(time.len() as u16 + 1)]).areas(area);
    let root = seen.root.display().to_string();
    frame.render_widget(
        Line::from(vec![" azaion ".bold().reversed(), " ".into(), root.into()]),
        left,
    );
    frame.render_widget(Line::styled(time, QUIET), right);
}

fn draw_run(frame: &mut Frame<'_>, area: Rect, seen: &Seen) {
    let (look, place, count) = match &seen.run {
        Ok(Some((look, place, count))) => (look, place, count),
        Ok(None) => {
            let hint = Line::styled("none yet: azaion-train begins one", QUIET);
            return part(frame, area, "run", vec![hint]);
        }
        Err(why) => return part(frame, area, "run", vec![Line::styled(why.clone(), WARNING)]),
    };
    let mut block = block(&look.name).title(state(look));
    if *count > 1 {
        let which = Line::styled(format!(" {place} of {count} "), QUIET).right_aligned();
        block = block.title(which);
    }
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let lines = run_lines(look, seen.now, inner.width.min(WIDE / 2));
    let [numbers, curves] = if inner.width >= WIDE {
        Layout::horizontal([Constraint::Length(WIDE / 2), Constraint::Fill(1)]).areas(inner)
    } else {
        Layout::vertical([Constraint::Length(lines.len() as u16), Constraint::Fill(1)]).areas(inner)
    };
    frame.render_widget(Paragraph::new(lines), numbers);
    draw_curves(frame, curves, &look.history);
}

fn state(look: &Look) -> Span<'static> {
    let word = format!(" {} ", look.state.word());
    match look.state {
        Standing::Training => word.green(),
        Standing::Finished => word.cyan(),
        Standing::Interrupted | Standing::Closed => Span::styled(word, WARNING),
        Standing::Damaged => Span::styled(word, WRONG),
    }
}

fn run_lines(look: &Look, now: Timestamp, width: u16) -> Vec<Line<'static>> {
    let mut lines = vec![progress(look, width)];
    let live = look.status.as_ref().filter(|_| look.state == Standing::Training);
    if let Some(status) = live {
        lines.push(pace(status));
    }
    lines.push(measured(look));
    if let Some(status) = &look.status {
        lines.push(checkpoint(status, look.state, now));
    }
    let problems = look.problems.iter();
    lines.extend(problems.map(|problem| Line::styled(format!("! {problem}"), WARNING)));
    lines
}

fn progress(look: &Look, width: u16) -> Line<'static> {
    let live = look.status.as_ref().filter(|_| look.state == Standing::Training);
    let all = look.epochs.unwrap_or(0);
    let (epoch, share) = match live {
        Some(status) => (u64::from(status.epoch), status.share()),
        None => {
            let done = u64::from(look.epochs_done);
            (done, done as f64 / all.max(1) as f64)
        }
    };
    let text = if all > 0 {
        format!("{epoch}/{all} ")
    } else {
        format!("{epoch} ")
    };
    let left = live
        .and_then(|status| status.seconds_left)
        .map(|left| format!("  {} left", span(left)));
    let took = look
        .seconds
        .filter(|_| left.is_none())
        .map(|took| format!("  took {}", span(took)));
    let behind = left.or(took).unwrap_or_default();
    let taken = 6 + text.len() + 6 + behind.len();
    let [done, rest] = bar(share, usize::from(width).saturating_sub(taken).clamp(8, 40));
    Line::from(vec![
        Span::styled("epoch ", LABEL),
        text.bold(),
        done.green(),
        Span::styled(rest, QUIET),
        format!("{:>4.0} %", share * 100.0).into(),
        behind.into(),
    ])
}

/// A bar of so many columns: what is done, and the rest.
fn bar(share: f64, columns: usize) -> [String; 2] {
    let done = (share.clamp(0.0, 1.0) * columns as f64).round() as usize;
    ["█".repeat(done), "░".repeat(columns - done)]
}

fn pace(status: &Status) -> Line<'static> {
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
    let [boxes, classes, distances] = status.loss.map(number);
    let mut spans = vec![
        Span::styled("loss  ", LABEL),
        number(status.total_loss()).bold(),
        format!("  box {boxes}  cls {classes}  l1 {distances}").into(),
    ];
    if let Some(pace) = status.images_per_s {
        spans.push(Span::styled("   speed ", LABEL));
        spans.push(format!("{pace:.1} images/s").into());
    }
    Line::from(spans)
}

fn measured(look: &Look) -> Line<'static> {
    let (Some(last), Some(best)) = (look.last, look.best) else {
        return Line::styled("no epoch is done yet", QUIET);
    };
    Line::from(vec![
        Span::styled("mAP50 ", LABEL),
        format!("{:.3}", last.map50).bold(),
        Span::styled("  mAP50-95 ", LABEL),
        format!("{:.3}", last.map50_95).bold(),
        Span::styled("  best ", LABEL),
        format!("{:.3} in epoch {}", best.map50_95, best.epoch).into(),
    ])
}

fn checkpoint(status: &Status, state: Standing, now: Timestamp) -> Line<'static> {
    let ago = |at: Timestamp| format!("{} ago", span(now.duration_since(at).as_secs_f64()));
    let saved = status.saved.as_ref().map_or_else(
        || "none yet".to_owned(),
        |saved| format!("{}, epoch {} batch {}", ago(saved.at), saved.epoch, saved.batch),
    );
    let mut spans = vec![Span::styled("saved ", LABEL), saved.into()];
    if state == Standing::Training {
        spans.push(format!("   {}", status.device).into());
    } else {
        spans.push(Span::styled(
            format!("   last heard of {}", ago(status.updated)),
            QUIET,
        ));
    }
    if status.warnings > 0 {
        spans.push(Span::styled(format!("   {} warnings", status.warnings), WARNING));
    }
    Line::from(spans)
}

/// What a curve shows of an epoch.
type Of = fn(&EpochRow) -> f64;

fn draw_curves(frame: &mut Frame<'_>, area: Rect, history: &[EpochRow]) {
    if area.height < 2 || history.is_empty() {
        return;
    }
    let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2);
    let [left, right] = halves.areas(area);
    let (map, loss): (Of, Of) = (|row| row.map50_95, |row| row.train.iter().sum());
    if area.height < CHART_ROWS {
        draw_bars(frame, left, ("mAP50-95", Color::Green, map), history);
        draw_bars(frame, right, ("loss", Color::Yellow, loss), history);
    } else {
        let map50: Of = |row| row.map50;
        let val: Of = |row| row.val.iter().sum();
        let maps = [("mAP50", Color::Blue, map50), ("mAP50-95", Color::Green, map)];
        let losses = [
            ("validation loss", Color::Magenta, val),
            ("loss", Color::Yellow, loss),
        ];
        draw_chart(frame, left, maps, history);
        draw_chart(frame, right, losses, history);
    }
}

/// The last epochs as bars, from 0 to the highest of them.
fn draw_bars(frame: &mut Frame<'_>, area: Rect, (name, color, of): (&str, Color, Of), history: &[EpochRow]) {
    let [head, bars] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let shown = history.iter().rev().take(usize::from(bars.width)).rev();
    let values: Vec<f64> = shown
        .map(of)
        .map(|v| if v.is_finite() { v } else { 0.0 })
        .collect();
    let most = values.iter().copied().fold(0.0, f64::max);
    let last = values.last().copied().unwrap_or(0.0);
    let text = format!("{name} {last:.3}, most {most:.3}");
    frame.render_widget(Line::styled(text, QUIET), head);
    // Whole numbers are wanted: in parts of a thousand of the highest.
    let parts: Vec<u64> = values
        .iter()
        .map(|v| (v / most.max(1e-12) * 1000.0) as u64)
        .collect();
    let bars_style = Style::new().fg(color);
    frame.render_widget(Sparkline::default().data(parts).max(1000).style(bars_style), bars);
}

/// Curves over the epochs, the last one in front.
fn draw_chart(frame: &mut Frame<'_>, area: Rect, curves: [(&str, Color, Of); 2], history: &[EpochRow]) {
    let points = curves.map(|(.., of)| {
        let points = history.iter().map(|row| (f64::from(row.epoch), of(row)));
        points.filter(|(_, y)| y.is_finite()).collect::<Vec<_>>()
    });
    let most = points.iter().flatten().map(|point| point.1).fold(0.0, f64::max);
    let most = if most > 0.0 { most } else { 1.0 };
    let [first, last] = [history.first(), history.last()].map(|row| row.map_or(0, |row| row.epoch));
    let [head, plot] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let names = curves.map(|(name, color, _)| Span::styled(format!("━ {name}  "), Style::new().fg(color)));
    frame.render_widget(Line::from(names.to_vec()), head);
    let sets = curves.iter().zip(&points).map(|((_, color, _), points)| {
        Dataset::default()
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(*color))
            .data(points)
    });
    let ends = [f64::from(first), f64::from(last.max(first + 1))];
    let chart = Chart::new(sets.collect())
        .x_axis(
            Axis::default()
                .style(QUIET)
                .bounds(ends)
                .labels([first.to_string(), last.to_string()]),
        )
        .y_axis(Axis::default().style(QUIET).bounds([0.0, most]).labels([
            "0".to_owned(),
            format!("{:.2}", most / 2.0),
            format!("{most:.2}"),
        ]));
    frame.render_widget(chart, plot);
}

fn gpu_lines(gpus: &Result<Vec<Gpu>, String>, width: u16) -> Vec<Line<'static>> {
    let gpus = match gpus {
        Ok(gpus) if gpus.is_empty() => return vec![Line::styled("no GPU", QUIET)],
        Ok(gpus) => gpus,
        Err(why) => {
            let lines = wrapped(why, width).into_iter();
            return lines.map(|line| Line::styled(line, QUIET)).collect();
        }
    };
    gpus.iter().flat_map(gpu_line).collect()
}

fn gpu_line(gpu: &Gpu) -> [Line<'static>; 2] {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    let heat = match gpu.celsius {
        Some(91..) => WRONG,
        Some(81..) => WARNING,
        _ => Style::new(),
    };
    let memory = gpu
        .used_bytes
        .zip(gpu.total_bytes)
        .map(|(used, total)| format!("{} of {}", gigabytes(used), gigabytes(total)));
    let name = match &gpu.error {
        Some(error) => Line::styled(error.clone(), WRONG),
        None => Line::from(gpu.name.clone()),
    };
    [
        name,
        Line::from(vec![
            or_dash(gpu.busy_pct.map(|percent| format!("{percent} %"))).bold(),
            format!("  {}  ", or_dash(memory)).into(),
            Span::styled(or_dash(gpu.celsius.map(|celsius| format!("{celsius} °C"))), heat),
            gpu.watts
                .map_or_else(String::new, |watts| format!("  {watts:.0} W"))
                .into(),
        ]),
    ]
}

/// Who writes the tree, and what could not be used.
fn writer(queue: &Queue) -> Line<'static> {
    let mut spans = match queue.writer {
        Some(pid) => vec![
            Span::styled("written by ", LABEL),
            format!("process {pid}").into(),
        ],
        None => vec![Span::styled("nobody writes the tree", QUIET)],
    };
    if let Some(quarantined) = queue.quarantined {
        let style = if quarantined > 0 { WARNING } else { Style::new() };
        spans.push(Span::styled("  quarantine ", LABEL));
        spans.push(Span::styled(quarantined.to_string(), style));
    }
    Line::from(spans)
}

fn queue_lines(queue: &Queue, width: u16) -> Vec<Line<'static>> {
    let offset = match &queue.offset {
        Some(Ok(offset)) => Span::from(offset.to_string()).bold(),
        Some(Err(why)) => Span::styled(why.clone(), WRONG),
        None => Span::styled("nothing read yet", QUIET),
    };
    let rate = queue.rate.map(|rate| format!("  {rate:.1} messages/s"));
    let mut lines = vec![
        Line::from(vec![
            Span::styled("next offset ", LABEL),
            offset,
            rate.unwrap_or_default().into(),
        ]),
        writer(queue),
    ];
    match &queue.unit {
        Some(Ok(said)) => lines.extend(wrapped(said, width).into_iter().map(Line::from)),
        Some(Err(why)) => lines.push(Line::styled(format!("unit not asked: {why}"), QUIET)),
        None => {}
    }
    lines
}

/// A sentence in lines of so many columns, broken at blanks that may be broken at.
fn wrapped(text: &str, width: u16) -> Vec<String> {
    let width = usize::from(width.max(10));
    let mut lines = vec![String::new()];
    for word in text.split_ascii_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

fn disk_lines(disk: &Result<Disk, String>, width: u16) -> Vec<Line<'static>> {
    let disk = match disk {
        Ok(disk) => disk,
        Err(why) => return vec![Line::styled(why.clone(), WRONG)],
    };
    let share = 1.0 - disk.free as f64 / disk.total.max(1) as f64;
    let style = match share {
        share if share > 0.95 => WRONG,
        share if share > 0.8 => WARNING,
        _ => Style::new(),
    };
    let [done, rest] = bar(share, 12);
    let free = format!(" {:.0} %, {} free", share * 100.0, gigabytes(disk.free));
    let mut lines = vec![Line::from(vec![
        Span::styled(done, style),
        Span::styled(rest, QUIET),
        Span::styled(free, style),
    ])];
    let Some(folders) = &disk.folders else {
        lines.push(Line::styled("the folders are being measured", QUIET));
        return lines;
    };
    let mut folders: Vec<_> = folders.iter().filter(|(_, bytes)| *bytes > 0).collect();
    folders.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    // A number stays beside its name.
    let told: Vec<String> = folders
        .iter()
        .map(|(name, bytes)| format!("{name} {}", gigabytes(*bytes)).replace(' ', "\u{a0}"))
        .collect();
    let rows = wrapped(&told.join(", "), width).into_iter();
    lines.extend(rows.map(|row| Line::from(row.replace('\u{a0}', " "))));
    lines
}

fn alerts_title(alerts: &Result<Vec<Alert>, String>) -> String {
    match alerts {
        Ok(alerts) if !alerts.is_empty() => format!("alerts: {}", alerts.len()),
        _ => "alerts".to_owned(),
    }
}

fn alert_lines(alerts: &Result<Vec<Alert>, String>) -> Vec<Line<'static>> {
    let alerts = match alerts {
        Ok(alerts) if alerts.is_empty() => return vec![Line::styled("none", QUIET)],
        Ok(alerts) => alerts,
        Err(why) => return vec![Line::styled(why.clone(), WRONG)],
    };
    let lines = alerts.iter().map(|alert| {
        // Month to minute.
        let time = alert.time.get(5..16).unwrap_or("").replace('T', " ");
        Line::from(vec![
            Span::styled(format!("{time:<11} "), QUIET),
            Span::styled(alert.unit.trim_end_matches(".service").to_owned(), WARNING),
            format!(" {}", alert.result).into(),
        ])
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::super::frame;
    use super::*;
    use runs::{Begin, Phase, Run, Saved};
    use std::{fs, path::Path};

    const NOW: i64 = 1_774_708_200;

    fn at(seconds_ago: i64) -> Timestamp {
        Timestamp::from_second(NOW - seconds_ago).unwrap()
    }

    fn nothing(root: &Path) -> Seen {
        Seen {
            now: at(0),
            root: root.to_owned(),
            run: Ok(None),
            gpus: Err("no GPU: NVIDIA's driver is not installed".into()),
            queue: Queue::default(),
            disk: Err("/azaion: no such folder".into()),
            alerts: Ok(Vec::new()),
        }
    }

    /// A run of 120 epochs in its 46th, on a busy machine.
    fn busy(root: &Path) -> Seen {
        fs::create_dir_all(root.join(runs::RUNS)).unwrap();
        let begin = Begin {
            dataset: "datasets/cells".into(),
            dataset_hash: None,
            model: "yolo26m.pt".into(),
            hyper: serde_json::json!({"epochs": 120}),
        };
        let run = Run::begin(root, begin).unwrap();
        let folder = root.join(&run.folder);
        let history: Vec<EpochRow> = (1..=45)
            .map(|epoch| EpochRow {
                epoch,
                train: [60.0 / f64::from(epoch + 20), 1.0, 0.25],
                val: [70.0 / f64::from(epoch + 20), 1.0, 0.5],
                map50: f64::from(epoch) / 50.0,
                map50_95: f64::from(epoch) / 80.0,
                ..EpochRow::default()
            })
            .collect();
        fs::write(folder.join(runs::RESULTS), report::results_csv(&history)).unwrap();
        let mut status = Status::beginning(run.name(), at(0));
        (status.epoch, status.epochs) = (46, 120);
        (status.batch, status.batches) = (50, 100);
        status.loss = [Some(0.9), Some(0.6), Some(0.25)];
        status.images_per_s = Some(11.43);
        status.seconds_left = Some(15_120.0);
        status.device = "CPU, 2 threads".into();
        status.warnings = 2;
        status.saved = Some(Saved {
            at: at(32),
            epoch: 46,
            batch: 40,
        });
        status.write(&folder).unwrap();
        let look = Look::at(&folder, Run::at(&folder));
        Seen {
            run: Ok(Some((look, 3, 3))),
            gpus: Ok(vec![Gpu {
                name: "Example GPU 24".into(),
                busy_pct: Some(97),
                used_bytes: Some(18_400_000_000),
                total_bytes: Some(24_000_000_000),
                celsius: Some(84),
                watts: Some(250.4),
                error: None,
            }]),
            queue: Queue {
                offset: Some(Ok(4711)),
                rate: Some(9.96),
                writer: Some(812),
                quarantined: Some(3),
                unit: Some(Ok("active: offset 4711, 10.0 messages/s, lag 60".into())),
            },
            disk: Ok(Disk {
                total: 1_000_000_000_000,
                free: 150_000_000_000,
                folders: Some(vec![
                    ("data", 2_500_000_000),
                    ("datasets", 900_000_000),
                    ("models", 4_000_000_000),
                ]),
            }),
            alerts: Ok(vec![Alert {
                time: "2026-03-28T14:30:00Z".into(),
                unit: "azaion-queue.service".into(),
                result: "watchdog".into(),
            }]),
            ..nothing(root)
        }
    }

    fn screen(seen: &Seen, columns: u16, rows: u16) -> String {
        frame::text(&frame::render(seen, columns, rows), false)
    }

    #[test]
    fn a_busy_machine_is_on_one_small_screen() {
        let root = tempfile::tempdir().unwrap();
        let shown = screen(&busy(root.path()), 80, 24);
        for told in [
            "training",
            "3 of 3",
            "epoch 46/120",
            "38 %",
            "4 h 12 min left",
            "loss  1.750",
            "box 0.900",
            "11.4 images/s",
            "mAP50 0.900",
            "mAP50-95 0.562",
            "in epoch 45",
            "32 s ago, epoch 46 batch 40",
            "CPU, 2 threads",
            "2 warnings",
            "97 %",
            "18.4 GB of 24.0 GB",
            "84 °C",
            "next offset 4711",
            "10.0 messages/s",
            "process 812",
            "quarantine 3",
            "lag 60",
            "85 %, 150.0 GB free",
            "datasets",
            "900 MB",
            "alerts: 1",
            "03-28 14:30 azaion-queue watchdog",
            "q quit",
            "▇",
        ] {
            assert!(shown.contains(told), "{told} in\n{shown}");
        }
        assert_eq!(shown.lines().count(), 24);
    }

    #[test]
    fn a_large_screen_has_curves_with_axes_and_says_the_same() {
        let root = tempfile::tempdir().unwrap();
        for (columns, rows) in [(100, 40), (160, 48)] {
            let shown = screen(&busy(root.path()), columns, rows);
            for told in [
                "━ mAP50-95",
                "━ validation loss",
                "epoch 46/120",
                "next offset 4711",
                "45",
            ] {
                assert!(shown.contains(told), "{told} in\n{shown}");
            }
            assert!(
                shown.contains('⠤') || shown.contains('⠒') || shown.contains('⡠'),
                "{shown}"
            );
        }
    }

    #[test]
    fn where_nothing_is_the_screen_says_what_is_missing() {
        let root = tempfile::tempdir().unwrap();
        let shown = screen(&nothing(root.path()), 80, 24);
        for told in [
            "none yet: azaion-train begins one",
            "no GPU",
            "nothing read yet",
            "nobody writes",
            "no such folder",
        ] {
            assert!(shown.contains(told), "{told} in\n{shown}");
        }
    }

    #[test]
    fn a_run_that_was_killed_is_interrupted_and_one_that_failed_says_why() {
        let root = tempfile::tempdir().unwrap();
        let mut seen = busy(root.path());
        let Ok(Some((look, ..))) = &mut seen.run else {
            panic!("no run")
        };
        let folder = look.folder.clone();
        let mut status = look.status.clone().unwrap();
        status.pid = 4_194_305;
        status.write(&folder).unwrap();
        *look = Look::at(&folder, Run::at(&folder));
        let shown = screen(&seen, 80, 24);
        assert!(
            shown.contains(" interrupted ") && shown.contains("last heard of"),
            "{shown}"
        );
        status.phase = Phase::Failed("the disk is full".into());
        status.write(&folder).unwrap();
        let Ok(Some((look, ..))) = &mut seen.run else {
            panic!("no run")
        };
        *look = Look::at(&folder, Run::at(&folder));
        let shown = screen(&seen, 80, 24);
        assert!(
            shown.contains("! it ended with an error: the disk is full"),
            "{shown}"
        );
    }

    #[test]
    fn no_size_of_the_screen_is_too_small_to_draw_on() {
        let root = tempfile::tempdir().unwrap();
        let seen = busy(root.path());
        for (columns, rows) in [(1, 1), (2, 200), (200, 2), (20, 10), (79, 23), (300, 100)] {
            let buffer = frame::render(&seen, columns, rows);
            assert_eq!(frame::text(&buffer, true).lines().count(), usize::from(rows));
        }
    }

    #[test]
    fn a_long_status_is_broken_at_blanks() {
        assert_eq!(wrapped("offset 4711, lag 60", 12), ["offset 4711,", "lag 60"]);
        assert_eq!(wrapped("", 12), [""]);
    }
}

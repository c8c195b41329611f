//! One frame as text, for pipes and pictures.

use super::{seen::Seen, view};
use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    style::{Color, Modifier, Style},
};
use std::fmt::Write as _;

/// Draws what was seen onto a screen in memory.
pub(super) fn render(seen: &Seen, columns: u16, rows: u16) -> Buffer {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(columns, rows));
    let Ok(_) = terminal.draw(|frame| view::draw(frame, seen));
    terminal.backend().buffer().clone()
}

/// A line a row; with the terminal's colours where they are wanted.
pub(super) fn text(buffer: &Buffer, colours: bool) -> String {
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let mut line = String::new();
        let mut style = Style::reset();
        for x in 0..buffer.area.width {
            let Some(cell) = buffer.cell((x, y)) else { continue };
            if colours && cell.style() != style {
                style = cell.style();
                let _ = write!(line, "{}", sequence(style));
            }
            line.push_str(cell.symbol());
        }
        text.push_str(line.trim_end());
        if colours {
            text.push_str("\u{1b}[0m");
        }
        text.push('\n');
    }
    text
}

/// What a terminal is told for a style (ECMA-48, SGR).
fn sequence(style: Style) -> String {
    let mut codes = vec!["0".to_owned()];
    let modifiers = [
        (Modifier::BOLD, "1"),
        (Modifier::DIM, "2"),
        (Modifier::REVERSED, "7"),
    ];
    codes.extend(
        modifiers
            .into_iter()
            .filter(|(modifier, _)| style.add_modifier.contains(*modifier))
            .map(|(_, code)| code.to_owned()),
    );
    codes.extend(style.fg.and_then(|color| code(color, 30)));
    codes.extend(style.bg.and_then(|color| code(color, 40)));
    format!("\u{1b}[{}m", codes.join(";"))
}

/// Of the colours that the view uses; the others are left to the terminal.
fn code(color: Color, base: u8) -> Option<String> {
    let offset = match color {
        Color::Black => 0,
        Color::Red => 1,
        Color::Green => 2,
        Color::Yellow => 3,
        Color::Blue => 4,
        Color::Magenta => 5,
        Color::Cyan => 6,
        Color::Gray => 7,
        Color::DarkGray => 60,
        _ => return None,
    };
    Some((base + offset).to_string())
}

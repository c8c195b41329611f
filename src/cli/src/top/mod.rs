//! `azaion top`: run, GPU, queue, disk and alerts on one screen, as they are now.
//!
//! Everything is read from the tree, the driver and the service manager; no service has to run, and what is missing is said
//! in its place. One thread looks once a second and sends what it saw; the other draws and hears the keys, so that a slow
//! disk never holds up `q`. Folders are measured rarely, for that reads every name in them.

mod frame;
mod gpu;
mod seen;
mod view;

use crate::{program, tree::TreeArgs};
use anyhow::{Context, Result};
use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use seen::{Looker, Seen};
use service::shutdown::Shutdown;
use std::{
    io::{IsTerminal, stdout},
    process::ExitCode,
    str::FromStr,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    thread,
    time::Duration,
};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);
/// How soon a key is heard.
const KEYS: Duration = Duration::from_millis(100);

/// Arguments of `azaion top`.
#[derive(Debug, Args)]
#[command(after_help = "Keys: q ends; left and right go from run to run")]
pub struct TopArgs {
    /// Which tree.
    #[command(flatten)]
    pub tree: TreeArgs,
    /// Print one frame and end.
    #[arg(long)]
    pub once: bool,
    /// The frame's size, with --once [default: the terminal's, else 80x24].
    #[arg(long, value_name = "COLUMNSxROWS", requires = "once")]
    pub size: Option<Size>,
}

/// Columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(u16, u16);

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let side = |text: &str| text.parse().ok().filter(|side| (1..=1000).contains(side));
        text.split_once('x')
            .and_then(|(columns, rows)| Some(Self(side(columns)?, side(rows)?)))
            .ok_or("no size such as 120x40")
    }
}

/// Runs the command.
///
/// # Errors
/// The configuration cannot be used, or the terminal not be drawn on.
pub fn run(args: &TopArgs, shutdown: &Shutdown) -> Result<ExitCode> {
    // A tree that is not there is said on the screen: it may come.
    let mut looker = Looker::new(&args.tree)?;
    if args.once || !stdout().is_terminal() {
        let seen = looker.look_once();
        let size = args.size.or_else(|| {
            let (columns, rows) = ratatui::crossterm::terminal::size().ok()?;
            stdout().is_terminal().then_some(Size(columns, rows))
        });
        let Size(columns, rows) = size.unwrap_or(Size(80, 24));
        let buffer = frame::render(&seen, columns, rows);
        program::answer(&frame::text(&buffer, stdout().is_terminal()));
        return Ok(ExitCode::SUCCESS);
    }
    let (send, receive) = sync_channel(1);
    let (turn, turns) = sync_channel(8);
    thread::Builder::new()
        .name("look".into())
        .spawn(move || look_on(looker, &send, &turns))
        .context("cannot start the thread that looks")?;
    let mut terminal = ratatui::try_init().context("cannot draw on this terminal")?;
    let done = draw_on(&mut terminal, &receive, &turn, shutdown);
    ratatui::restore();
    done.map(|()| ExitCode::SUCCESS)
}

/// Looks, and looks again, until nobody listens. A turn of the keys makes it look at once.
fn look_on(mut looker: Looker, send: &SyncSender<Seen>, turns: &Receiver<i32>) {
    loop {
        if send.send(looker.look()).is_err() {
            return;
        }
        match turns.recv_timeout(EVERY) {
            Ok(by) => looker.turn(by),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn draw_on(
    terminal: &mut ratatui::DefaultTerminal,
    receive: &Receiver<Seen>,
    turn: &SyncSender<i32>,
    shutdown: &Shutdown,
) -> Result<()> {
    let mut latest = None;
    while !shutdown.is_requested() {
        match receive.try_recv() {
            Ok(seen) => latest = Some(seen),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => anyhow::bail!("the thread that looks has ended"),
        }
        terminal.draw(|frame| match &latest {
            Some(seen) => view::draw(frame, seen),
            None => frame.render_widget("looking ...", frame.area()),
        })?;
        if !event::poll(KEYS)? {
            continue;
        }
        let Event::Key(key) = event::read()? else { continue };
        if key.kind != KeyEventKind::Press {
            continue;
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(()),
            // A full queue of turns means that they are on their way.
            KeyCode::Left | KeyCode::Up => drop(turn.try_send(-1)),
            KeyCode::Right | KeyCode::Down | KeyCode::Tab => drop(turn.try_send(1)),
            _ => {}
        }
    }
    Ok(())
}

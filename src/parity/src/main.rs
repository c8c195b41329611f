//! `parity DIR`: azaion against numbers that the reference package gave, as one table.
//!
//! The scripts of tests/reference fill DIR (`cargo xtask parity` runs them, then this program); every item is computed
//! here from the same inputs and compared. docs/PARITY.md says what is compared and why each bound is what it is. Exit
//! codes: 0 every bound holds, 1 failed, 2 a bound is broken, 64 bad usage.

mod images;
mod loss;
mod metrics;
mod network;
mod optimiser;
mod reference;
mod selections;
mod table;

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use table::{Row, Table};

const FAILED: u8 = 1;
const BROKEN: u8 = 2;
const USAGE: u8 = 64;

/// Compares azaion with what the reference package gave.
#[derive(Parser)]
#[command(name = "parity")]
struct Cli {
    /// Folder that the scripts of tests/reference filled
    folder: PathBuf,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
    /// Compare this part alone
    #[arg(long, value_name = "PART", value_parser = PARTS.map(|(name, _)| name))]
    only: Option<String>,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done about a terminal that takes no text.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match compare(&cli.folder, cli.only.as_deref()) {
        Ok(table) => {
            if cli.json {
                println!("{}", table.json());
            } else {
                print!("{table}");
            }
            if table.holds() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(BROKEN)
            }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

type Part = (&'static str, fn(&std::path::Path) -> anyhow::Result<Vec<Row>>);

const PARTS: [Part; 5] = [
    ("network", network::compare),
    ("loss", loss::compare),
    ("optimiser", optimiser::compare),
    ("images", images::compare),
    ("metrics", metrics::compare),
];

fn compare(folder: &std::path::Path, only: Option<&str>) -> anyhow::Result<Table> {
    // The bits of a sum depend on how it is split over threads; the scripts use one as well.
    torch::set_threads(1)?;
    let mut table = Table::default();
    for (name, part) in PARTS {
        if only.is_none_or(|only| only == name) {
            eprintln!("comparing: {name}");
            table.extend(part(folder)?);
        }
    }
    Ok(table)
}

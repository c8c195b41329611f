//! Reads a stream of a broker and prints what came, to try the reader by hand.
//!
//! ```text
//! cargo run --release -p stream --example read -- HOST PORT USER PASSWORD STREAM [FROM] [BUFFER_MB] [--list]
//! ```

use std::{env, sync::Arc, time::Instant};

use stream::{
    Error, Limits, Source,
    rabbit::{Options, Patience, RabbitSource},
};
use zeroize::Zeroizing;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| argument != "--list")
        .collect();
    let list = env::args().any(|argument| argument == "--list");
    let [host, port, user, password, stream, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: read HOST PORT USER PASSWORD STREAM [FROM] [BUFFER_MB] [--list]");
        return Ok(());
    };
    let password = password.clone();
    let mut options = Options::new(
        stream,
        user,
        Arc::new(move || Ok(Zeroizing::new(password.clone()))),
    );
    let number = |place: usize| rest.get(place).and_then(|text| text.parse::<u64>().ok());
    options.host = host.clone();
    options.port = port.parse().unwrap_or(5552);
    options.from = number(0).unwrap_or(0);
    options.buffer = number(1).map_or(options.buffer, |mb| (mb as usize) << 20);
    options.patience = Patience::Tries(3);
    let start = Instant::now();
    let mut source = RabbitSource::start(options);
    let (mut messages, mut bytes, mut batches, mut first) = (0_u64, 0_u64, 0_u64, None);
    while let Some(batch) = source.next(Limits::default()).await? {
        first.get_or_insert_with(|| start.elapsed());
        for message in &batch.messages {
            messages += 1;
            bytes += message.bytes.len() as u64;
            if list {
                println!(
                    "{} {} bytes {:?}",
                    message.offset,
                    message.bytes.len(),
                    message.packed
                );
            }
        }
        batches += 1;
        source.durable(batch.next_offset());
        if source.last_offset().is_none_or(|last| batch.next_offset() > last) {
            break;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{messages} messages, {:.1} MB in {batches} batches, {seconds:.3} s: {:.0} messages/s, {:.1} MB/s, first after {:.1} ms, peak buffer {:.1} MB",
        bytes as f64 / 1e6,
        messages as f64 / seconds,
        bytes as f64 / 1e6 / seconds,
        first.unwrap_or_default().as_secs_f64() * 1e3,
        source.peak_bytes() as f64 / 1e6,
    );
    source.close().await;
    Ok(())
}

//! Another program that is asked something: for so long, and no longer, and its answer is bounded too.

use std::{
    io::{self, Read},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

/// Most of an answer that is kept.
const MOST_BYTES: u64 = 1 << 20;
/// How often it is looked whether the program has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long its outputs are waited for after its end: a program that it left running may hold them open for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a program answered.
#[derive(Debug)]
pub struct Answer {
    /// How it ended.
    pub status: ExitStatus,
    /// The beginning of its stdout.
    pub stdout: Vec<u8>,
    /// The beginning of its stderr.
    pub stderr: Vec<u8>,
}

/// Runs `command` to its end, or kills it after `limit`, which is an error of the kind `TimedOut`.
pub fn ask(command: &mut Command, limit: Duration) -> io::Result<Answer> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (stdout, stderr) = (keep(child.stdout.take()), keep(child.stderr.take()));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begun.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it did not end within {} s", limit.as_secs()),
            ));
        }
        thread::sleep(LOOK_EVERY);
    };
    Ok(Answer {
        status,
        stdout: stdout.recv_timeout(LAST_WORDS).unwrap_or_default(),
        stderr: stderr.recv_timeout(LAST_WORDS).unwrap_or_default(),
    })
}

/// Reads a pipe to its end, so that the program never waits for a reader, and keeps the beginning.
fn keep(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        if let Some(mut pipe) = pipe {
            let mut kept = Vec::new();
            // What could be read before an error is all there is to tell.
            let _ = pipe.by_ref().take(MOST_BYTES).read_to_end(&mut kept);
            let _ = sender.send(kept);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_outputs_and_the_end_are_told() {
        let answer = ask(
            &mut shell("echo out; echo err >&2; exit 3"),
            Duration::from_secs(10),
        )
        .unwrap();
        assert_eq!(
            (answer.stdout, answer.stderr),
            (b"out\n".to_vec(), b"err\n".to_vec())
        );
        assert_eq!(answer.status.code(), Some(3));
    }

    #[test]
    fn who_does_not_answer_is_ended() {
        let begun = Instant::now();
        let error = ask(&mut shell("exec sleep 60"), Duration::from_millis(200)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn what_it_leaves_running_is_not_waited_for() {
        let begun = Instant::now();
        let answer = ask(&mut shell("sleep 5 & echo out"), Duration::from_secs(30)).unwrap();
        assert!(answer.status.success());
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn who_says_too_much_is_heard_to_the_end_but_not_kept() {
        let much = "head -c 3000000 /dev/zero";
        let answer = ask(&mut shell(much), Duration::from_secs(30)).unwrap();
        assert!(answer.status.success());
        assert_eq!(answer.stdout.len() as u64, MOST_BYTES);
    }
}

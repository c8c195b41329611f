//! What can go wrong in a run, provoked: interruptions, numbers that are not finite, memory, heat, damaged checkpoints.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use common::{SQUARE, dataset, options};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use train::{
    CHECKPOINT, Error, Event, Faults, Hyper, Memory, Observer, OptimizerChoice, Outcome, Precision,
    RunOptions, Stage, Thermometer, checkpoint::Checkpoint, run,
};

/// What happened, in words; `react` may answer.
struct Told<F: FnMut(&Event<'_>)> {
    incidents: Vec<String>,
    react: F,
}

impl<F: FnMut(&Event<'_>)> Observer for Told<F> {
    fn on(&mut self, event: Event<'_>) {
        self.incidents.extend(event.incident());
        (self.react)(&event);
    }
}

fn quietly(options: &RunOptions) -> (Result<Outcome, Error>, Vec<String>) {
    let mut told = Told {
        incidents: Vec::new(),
        react: |_| {},
    };
    let outcome = run(options, &mut told);
    (outcome, told.incidents)
}

fn finish(options: &RunOptions) -> Vec<String> {
    let (outcome, incidents) = quietly(options);
    assert!(matches!(outcome.unwrap(), Outcome::Finished(_)), "{incidents:?}");
    incidents
}

/// Three epochs of four batches, a step every second batch.
fn small(folder: &Path, data: &Path) -> RunOptions {
    let mut options = options(folder, data.to_owned());
    options.hyper = Hyper {
        epochs: 3,
        batch: 1,
        nbs: 2,
        imgsz: 64,
        optimizer: OptimizerChoice::MuSGD,
        warmup_epochs: 0.0,
        precision: Precision::Fp32,
        ..options.hyper
    };
    options
}

fn read(options: &RunOptions) -> Checkpoint {
    Checkpoint::read(&options.folder.join(CHECKPOINT))
        .unwrap()
        .unwrap()
}

/// The bits of every array whose name begins with `prefix`.
fn bits(checkpoint: &Checkpoint, prefix: &str) -> Vec<(String, Vec<u32>)> {
    let arrays = checkpoint
        .arrays
        .iter()
        .filter(|(name, _)| name.starts_with(prefix));
    arrays
        .map(|(name, array)| {
            (
                name.clone(),
                array.values.iter().map(|value| value.to_bits()).collect(),
            )
        })
        .collect()
}

fn same_end(found: &RunOptions, expected: &RunOptions) {
    let (ours, theirs) = (read(found), read(expected));
    for ((name, ours), (_, theirs)) in bits(&ours, "").iter().zip(&bits(&theirs, "")) {
        assert!(ours == theirs, "{name} differs");
    }
    assert_eq!(ours.arrays.len(), theirs.arrays.len());
    let best = |options: &RunOptions| fs::read(options.folder.join(train::BEST)).unwrap();
    assert!(best(found) == best(expected), "best.pt differs");
}

fn work() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let data = dataset(folder.path(), SQUARE, &["square"]);
    (folder, data)
}

#[test]
fn a_run_that_is_stopped_behind_every_batch_ends_as_one_that_nobody_touched() {
    let (folder, data) = work();
    for precision in [Precision::Fp32, Precision::Bf16] {
        let of = |name: &str| {
            let mut options = small(&folder.path().join(format!("{name}-{precision:?}")), &data);
            options.hyper.precision = precision;
            options
        };
        let (whole, broken) = (of("whole"), of("broken"));
        finish(&whole);
        let mut starts = 0;
        loop {
            starts += 1;
            let stop = Arc::clone(&broken.control.stop);
            stop.store(false, Ordering::Relaxed);
            let mut told = Told {
                incidents: Vec::new(),
                react: |event: &Event<'_>| {
                    if let Event::Batch { .. } = event {
                        stop.store(true, Ordering::Relaxed);
                    }
                },
            };
            if let Outcome::Finished(_) = run(&broken, &mut told).unwrap() {
                break;
            }
        }
        // The stop behind an epoch's last batch comes only after the epoch.
        assert_eq!(starts, 12);
        same_end(&broken, &whole);
    }
}

#[test]
fn what_is_saved_within_an_epoch_is_gone_on_from_after_a_crash() {
    let (folder, data) = work();
    let whole = small(&folder.path().join("whole"), &data);
    finish(&whole);
    let broken = small(&folder.path().join("broken"), &data);
    // The folder as it is when the second epoch's third batch was saved: what a crash there leaves.
    let left = folder.path().join("left");
    let mut told = Told {
        incidents: Vec::new(),
        react: |event: &Event<'_>| match event {
            Event::Batch {
                epoch: 2, batch: 3, ..
            } => broken.control.save.store(true, Ordering::Relaxed),
            Event::Batch {
                epoch: 2, batch: 4, ..
            } => {
                let begun = Instant::now();
                while read(&broken).position.batch != 3 {
                    assert!(begun.elapsed() < Duration::from_secs(30), "it is not saved");
                    std::thread::sleep(Duration::from_millis(5));
                }
                fs::create_dir_all(&left).unwrap();
                fs::copy(broken.folder.join(CHECKPOINT), left.join(CHECKPOINT)).unwrap();
            }
            _ => {}
        },
    };
    run(&broken, &mut told).unwrap();
    fs::remove_dir_all(&broken.folder).unwrap();
    fs::rename(&left, &broken.folder).unwrap();
    let resumed = read(&broken).position;
    assert_eq!((resumed.epoch, resumed.batch), (1, 3));
    finish(&broken);
    same_end(&broken, &whole);
}

#[test]
fn a_draining_run_ends_behind_its_epoch() {
    let (folder, data) = work();
    let options = small(folder.path(), &data);
    options.control.drain.store(true, Ordering::Relaxed);
    let (outcome, _) = quietly(&options);
    assert!(matches!(
        outcome.unwrap(),
        Outcome::Stopped { epoch: 2, batch: 0 }
    ));
}

#[test]
fn a_checkpoint_that_is_damaged_is_set_aside_and_an_earlier_one_gone_on_from() {
    let (folder, data) = work();
    let whole = small(&folder.path().join("whole"), &data);
    finish(&whole);
    let broken = small(&folder.path().join("broken"), &data);
    broken.control.drain.store(true, Ordering::Relaxed);
    quietly(&broken).0.unwrap();
    quietly(&broken).0.unwrap();
    let last = broken.folder.join(CHECKPOINT);
    let mut bytes = fs::read(&last).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // The end of the epoch has the same bytes under another name: they are damaged with it.
    fs::write(&last, &bytes).unwrap();
    broken.control.drain.store(false, Ordering::Relaxed);
    let incidents = finish(&broken);
    assert!(
        incidents[0].contains("does not fit its seal; set aside"),
        "{incidents:?}"
    );
    assert_eq!(
        fs::read(broken.folder.join("damaged-last.safetensors")).unwrap(),
        bytes
    );
    same_end(&broken, &whole);
}

#[test]
fn another_dataset_is_gone_on_with_only_when_that_is_asked_for() {
    let (folder, data) = work();
    let mut options = small(folder.path(), &data);
    options.control.drain.store(true, Ordering::Relaxed);
    quietly(&options).0.unwrap();
    fs::write(folder.path().join("train/labels/0.txt"), "0 0.4 0.5 0.3 0.5\n").unwrap();
    let refused = quietly(&options).0.unwrap_err().to_string();
    assert!(refused.contains("another dataset"), "{refused}");
    options.resume_anyway = true;
    options.control.drain.store(false, Ordering::Relaxed);
    let incidents = finish(&options);
    assert!(
        incidents[0].contains("another dataset") && incidents[0].contains("goes on anyway"),
        "{incidents:?}"
    );
}

#[test]
fn every_piece_of_work_is_told_of_in_its_own_stage() {
    let (folder, data) = work();
    let mut options = small(folder.path(), &data);
    options.hyper.epochs = 2;
    let mut stages = Vec::new();
    let mut told = Told {
        incidents: Vec::new(),
        react: |event: &Event<'_>| match event {
            Event::Stage(stage) => stages.push(*stage),
            Event::Batch { .. } => assert_eq!(stages.last(), Some(&Stage::Training)),
            Event::Validating { .. } => assert_eq!(stages.last(), Some(&Stage::Validation)),
            Event::Epoch { .. } | Event::Saving => assert_eq!(stages.last(), Some(&Stage::Export)),
            _ => {}
        },
    };
    assert!(matches!(run(&options, &mut told).unwrap(), Outcome::Finished(_)));
    let epoch = [Stage::Training, Stage::Validation, Stage::Export];
    let end = [Stage::Validation, Stage::Export];
    assert_eq!(stages, [&epoch[..], &epoch, &end].concat());
}

/// The table of epochs without its times.
fn table(options: &RunOptions) -> Vec<Vec<String>> {
    let text = fs::read_to_string(options.folder.join(train::RESULTS)).unwrap();
    let lines = text.lines().map(|line| {
        let columns = line.split(',').enumerate().filter(|(column, _)| *column != 1);
        columns.map(|(_, value)| value.trim().to_owned()).collect()
    });
    lines.collect()
}

#[test]
fn a_table_that_was_edited_by_hand_is_written_anew_when_the_run_goes_on() {
    let (folder, data) = work();
    let whole = small(&folder.path().join("whole"), &data);
    finish(&whole);
    let edited = small(&folder.path().join("edited"), &data);
    for text in ["epoch,time\n1,as I like it\n", ""] {
        edited.control.drain.store(true, Ordering::Relaxed);
        quietly(&edited).0.unwrap();
        fs::write(edited.folder.join(train::RESULTS), text).unwrap();
    }
    edited.control.drain.store(false, Ordering::Relaxed);
    assert_eq!(finish(&edited), [] as [String; 0]);
    assert_eq!(table(&edited), table(&whole));
    same_end(&edited, &whole);
}

#[test]
fn a_run_whose_folder_is_moved_ends_and_goes_on_where_it_was_moved_to() {
    let (folder, data) = work();
    let whole = small(&folder.path().join("whole"), &data);
    finish(&whole);
    let mut broken = small(&folder.path().join("broken"), &data);
    let moved = folder.path().join("moved");
    let mut batches = 0;
    let mut told = Told {
        incidents: Vec::new(),
        react: |event: &Event<'_>| {
            if let Event::Batch { epoch, batch, .. } = event {
                batches += 1;
                if (*epoch, *batch) == (2, 3) {
                    fs::rename(&broken.folder, &moved).unwrap();
                }
            }
        },
    };
    let error = run(&broken, &mut told).unwrap_err();
    assert!(error.wants_a_person(), "{error}");
    let said = error.to_string();
    assert!(
        said.contains("run is gone, moved or removed while the run was trained"),
        "{said}"
    );
    assert!(
        batches <= 9,
        "it ended behind the epoch in hand, not the last: {batches}"
    );
    assert!(!broken.folder.exists(), "nothing was made in its place");
    broken.folder = moved;
    finish(&broken);
    same_end(&broken, &whole);
}

#[test]
fn a_rate_that_explodes_is_skipped_lowered_and_given_up_and_a_restart_forgets_nothing() {
    let (folder, data) = work();
    let mut options = small(folder.path(), &data);
    options.hyper.optimizer = OptimizerChoice::SGD;
    options.hyper.lr0 = 1e38;
    options.hyper.nbs = 1;
    options.hyper.epochs = 20;
    let (outcome, incidents) = quietly(&options);
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("after 5 returns"), "{error}\n{incidents:?}");
    let count = |words: &str| incidents.iter().filter(|text| text.contains(words)).count();
    assert_eq!(count("learning rates times 0.03125"), 1, "{incidents:?}");
    assert_eq!(count("back to where"), 5, "{incidents:?}");
    let skipped = incidents
        .iter()
        .find(|text| text.contains("step skipped"))
        .unwrap();
    assert!(skipped.contains(".png"), "the images are named: {skipped}");

    let guards = read(&options).position.guards;
    assert_eq!((guards.lr_factor, guards.returns.len()), (0.5_f64.powi(5), 5));
    assert!(!guards.set_aside.is_empty());
    let (again, incidents) = quietly(&options);
    assert!(
        matches!(again.unwrap_err(), Error::GaveUp { returns: 5, .. }),
        "{incidents:?}"
    );
    assert!(
        !incidents.iter().any(|text| text.contains("back to where")),
        "{incidents:?}"
    );
}

#[test]
fn one_bad_batch_is_skipped_and_the_run_ends_with_finite_weights() {
    let (folder, data) = work();
    let options = small(folder.path(), &data);
    // The second batch of the second epoch is bad: its weights are, for one forward pass.
    let mut told = Told {
        incidents: Vec::new(),
        react: |_| {},
    };
    let mut poisoned = options.clone();
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    poisoned.faults = Faults::poisoning(move |_| seen.fetch_add(1, Ordering::Relaxed) == 5);
    assert!(matches!(run(&poisoned, &mut told).unwrap(), Outcome::Finished(_)));
    assert_eq!(told.incidents.len(), 1, "{:?}", told.incidents);
    assert!(
        told.incidents[0].starts_with("epoch 2, batch 2: the loss is not finite, step skipped; images: "),
        "{:?}",
        told.incidents
    );
    let end = read(&options);
    assert_eq!(end.position.guards.skipped_in_all, 1);
    let finite = |(name, values): &(String, Vec<u32>)| {
        // A single cell has no variance, so in this tiny network some running ones are no number.
        name.contains("running_var") || values.iter().all(|&bits| f32::from_bits(bits).is_finite())
    };
    assert!(bits(&end, "model/").iter().all(finite) && bits(&end, "ema/").iter().all(finite));
}

fn out_of_memory() -> torch::Error {
    torch::Error::new("forward", "CUDA out of memory. Tried to allocate 2.00 GiB")
}

#[test]
fn where_memory_runs_out_batches_are_taken_in_halves_and_the_next_run_knows() {
    let (folder, data) = work();
    let file = folder.path().join("memory.json");
    let of = |name: &str| {
        let mut options = small(&folder.path().join(name), &data);
        options.hyper.batch = 4;
        options.hyper.nbs = 8;
        options.memory = Memory::of(file.clone(), "a GPU", options.scale, options.hyper.imgsz);
        options
    };
    let mut first = of("first");
    // From the second epoch on, as where something else takes memory in the meantime.
    let calls = AtomicUsize::new(0);
    first.faults = Faults::before_forward(move |images| {
        let late = calls.fetch_add(1, Ordering::Relaxed) >= 1;
        if late && images > 1 {
            Err(out_of_memory())
        } else {
            Ok(())
        }
    });
    let incidents = finish(&first);
    assert_eq!(incidents.len(), 2, "{incidents:?}");
    assert!(
        incidents[0].contains("out of memory") && incidents[0].contains("2 images at a time"),
        "{incidents:?}"
    );
    assert!(incidents[1].contains("1 images at a time"), "{incidents:?}");
    let mut plain = of("plain");
    plain.memory = Memory::default();
    finish(&plain);
    let steps = |options: &RunOptions| read(options).position.optimizer_steps;
    assert_eq!(
        steps(&first),
        steps(&plain),
        "the schedule is that of whole batches"
    );

    let mut second = of("second");
    second.faults = Faults::before_forward(|images| if images > 1 { Err(out_of_memory()) } else { Ok(()) });
    assert_eq!(finish(&second), [] as [String; 0]);

    let mut hopeless = of("hopeless");
    hopeless.faults = Faults::before_forward(|_| Err(out_of_memory()));
    assert!(quietly(&hopeless).0.unwrap_err().is_out_of_memory());
}

#[test]
fn gradients_of_a_pass_that_was_cut_off_are_dropped() {
    let (folder, data) = work();
    // Memory runs out at the given forward pass, once; the batch is then taken one image at a time.
    let weights = |name: &str, at: usize| {
        let file = folder.path().join(format!("{name}.json"));
        let mut options = small(&folder.path().join(name), &data);
        options.hyper.batch = 4;
        options.hyper.epochs = 1;
        let kind = Memory::of(file.clone(), "a GPU", options.scale, options.hyper.imgsz);
        fs::write(
            &file,
            r#"{"version": 1, "micro_batch": {"a GPU, yolo26n, 64 px": 2}}"#,
        )
        .unwrap();
        options.memory = kind;
        let calls = AtomicUsize::new(0);
        options.faults = Faults::before_forward(move |_| match calls.fetch_add(1, Ordering::Relaxed) {
            call if call == at => Err(out_of_memory()),
            _ => Ok(()),
        });
        assert_eq!(finish(&options).len(), 1);
        bits(&read(&options), "model/")
            .into_iter()
            .filter(|(name, _)| !name.contains("running") && !name.contains("tracked"))
            .collect::<Vec<_>>()
    };
    // At the first half, or at the second one when the first has already gone backward.
    let (early, late) = (weights("early", 0), weights("late", 1));
    for ((name, early), (_, late)) in early.iter().zip(&late) {
        assert!(early == late, "{name} differs");
    }
}

#[derive(Debug)]
struct Readings(Mutex<Vec<u32>>);

impl Thermometer for Readings {
    fn celsius(&self) -> Option<u32> {
        self.0.lock().unwrap().pop()
    }
}

#[test]
fn a_hot_gpu_is_waited_for_between_two_batches() {
    let (folder, data) = work();
    let mut options = small(folder.path(), &data);
    options.hyper.epochs = 1;
    options.thermometer = Some(Arc::new(Readings(Mutex::new(vec![79, 85, 95]))));
    let mut waited = Vec::new();
    let mut told = Told {
        incidents: Vec::new(),
        react: |event: &Event<'_>| match event {
            Event::Cooling { celsius } => waited.push(*celsius),
            Event::Batch { batch: 1, .. } => assert_eq!(waited, [85], "no batch before it is cool"),
            _ => {}
        },
    };
    assert!(matches!(run(&options, &mut told).unwrap(), Outcome::Finished(_)));
    assert_eq!(
        told.incidents,
        [
            "the GPU is at 95 °C: training waits until it is below 80 °C",
            "the GPU is at 79 °C: training goes on"
        ]
    );
}

#[test]
fn a_stop_is_heard_while_the_gpu_is_waited_for() {
    let (folder, data) = work();
    let mut options = small(folder.path(), &data);
    options.thermometer = Some(Arc::new(Readings(Mutex::new(vec![95; 100]))));
    let stop = Arc::clone(&options.control.stop);
    let mut told = Told {
        incidents: Vec::new(),
        react: |event: &Event<'_>| {
            if let Event::TooHot { .. } = event {
                stop.store(true, Ordering::Relaxed);
            }
        },
    };
    let outcome = run(&options, &mut told).unwrap();
    assert!(matches!(outcome, Outcome::Stopped { epoch: 1, batch: 0 }));
}

/// A disk of its own, of so many megabytes, unmounted when dropped; none, said by name, where this user may not mount one.
struct Disk(tempfile::TempDir);

impl Disk {
    fn of(megabytes: u32, test: &str) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(disk.0.path())
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(disk);
        }
        eprintln!("skipped: {test}: mounting a tmpfs needs root");
        None
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut ballast = fs::File::create(self.0.path().join("ballast")).unwrap();
        while ballast.write_all(&[1; 1 << 16]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.0.path().join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A test that failed has said more than this could.
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_ends_no_run_and_changes_none() {
    let (folder, data) = work();
    let Some(disk) = Disk::of(400, "a_full_disk_ends_no_run_and_changes_none") else {
        return;
    };
    let whole = small(&folder.path().join("whole"), &data);
    finish(&whole);
    let options = small(disk.0.path(), &data);
    let mut saved_last = None;
    let mut told = Told {
        incidents: Vec::new(),
        react: |event: &Event<'_>| match event {
            Event::Epoch { row, .. } if row.epoch == 1 => disk.fill(),
            Event::Epoch { row, .. } if row.epoch == 3 => disk.make_room(),
            Event::Saved { epochs, .. } => saved_last = Some(*epochs),
            _ => {}
        },
    };
    assert!(matches!(run(&options, &mut told).unwrap(), Outcome::Finished(_)));
    let not_saved = |text: &&String| text.starts_with("not saved, tried again");
    let told: Vec<&String> = told.incidents.iter().filter(not_saved).collect();
    assert!(
        told.len() >= 2 && told.iter().all(|text| text.contains("No space left on device")),
        "{told:?}"
    );
    assert_eq!(saved_last, Some(3));
    same_end(&options, &whole);
}

#[test]
fn a_run_that_is_stopped_on_a_full_disk_says_so_and_goes_on_from_the_checkpoint_before() {
    let (folder, data) = work();
    let Some(disk) = Disk::of(400, "a_run_that_is_stopped_on_a_full_disk") else {
        return;
    };
    let whole = small(&folder.path().join("whole"), &data);
    finish(&whole);
    let options = small(disk.0.path(), &data);
    let stop = Arc::clone(&options.control.stop);
    let mut told = Told {
        incidents: Vec::new(),
        react: |event: &Event<'_>| {
            if let Event::Epoch { row, .. } = event
                && row.epoch == 2
            {
                disk.fill();
                stop.store(true, Ordering::Relaxed);
            }
        },
    };
    let error = run(&options, &mut told).unwrap_err().to_string();
    assert!(error.contains("No space left on device"), "{error}");
    disk.make_room();
    options.control.stop.store(false, Ordering::Relaxed);
    finish(&options);
    same_end(&options, &whole);
}

#[test]
fn a_run_whose_checkpoints_do_not_fit_is_refused_with_the_numbers_and_leaves_nothing() {
    let (_folder, data) = work();
    let Some(disk) = Disk::of(60, "a_run_whose_checkpoints_do_not_fit") else {
        return;
    };
    let options = small(disk.0.path(), &data);
    let error = quietly(&options).0.unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, Error::NoRoom { free, needed, one, .. } if free < 64 && needed > 4 * one && one > 30),
        "{text}"
    );
    assert!(
        text.contains("MB free") && text.contains("keep fewer checkpoints"),
        "{text}"
    );
    assert_eq!(fs::read_dir(&options.folder).unwrap().count(), 0);
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_told_of_and_training_goes_on() {
    let (folder, data) = work();
    let options = small(folder.path(), &data);
    let place = options.folder.join(CHECKPOINT);
    let mut told = Told {
        incidents: Vec::new(),
        react: |event: &Event<'_>| match event {
            // A folder in the file's place: it cannot be replaced.
            Event::Epoch { row, .. } if row.epoch == 1 => {
                let _ = fs::remove_file(&place);
                fs::create_dir(&place).unwrap();
            }
            Event::Epoch { row, .. } if row.epoch == 3 => fs::remove_dir(&place).unwrap(),
            _ => {}
        },
    };
    assert!(matches!(run(&options, &mut told).unwrap(), Outcome::Finished(_)));
    assert!(!told.incidents.is_empty());
    assert!(
        told.incidents
            .iter()
            .all(|text| text.starts_with("not saved, tried again")),
        "{:?}",
        told.incidents
    );
    assert_eq!(read(&options).position.epoch, 3);
}

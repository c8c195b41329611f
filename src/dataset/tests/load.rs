//! The loaders: what is in the batches, whoever makes them.
#![expect(clippy::unwrap_used, reason = "test support may panic")]

mod common;

use std::path::Path;
use std::sync::Arc;

use annotation::{Label, Row};
use dataset::augment::Augment;
use dataset::batch::{Batch, Target};
use dataset::decode::Image;
use dataset::letterbox::BACKGROUND;
use dataset::load::{LoadError, Loader, LoaderOptions, ValLoader, ValOptions, ValShape};
use dataset::resize::resize;
use dataset::yaml::{Dataset, Item};

fn write_png(path: &Path, image: &Image) {
    let (width, height) = (image.width() as u32, image.height() as u32);
    image::save_buffer(
        path,
        image.pixels(),
        width,
        height,
        image::ExtendedColorType::Rgb8,
    )
    .unwrap();
}

/// `count` small images of different shapes, each with one box whose class is the item's number.
fn dataset(folder: &Path, count: usize) -> Dataset {
    let items = (0..count).map(|i| {
        let size = [(64, 48), (40, 64), (100, 50), (32, 32)][i % 4];
        let path = folder.join(format!("{i:02}.png"));
        write_png(&path, &common::noisy(size.0, size.1, i as u64));
        let rows = vec![Row::new(i as u8, 0.5, 0.5, 0.5, 0.5).unwrap()];
        Item {
            image: path,
            label: Label { rows },
            size,
        }
    });
    Dataset {
        items: items.collect(),
        names: vec![String::new(); 80],
        nc: 80,
        ..Dataset::default()
    }
}

fn options() -> LoaderOptions {
    LoaderOptions {
        imgsz: 64,
        batch: 4,
        workers: 0,
        seed: 11,
        cache_bytes: 1 << 20,
        ..LoaderOptions::default()
    }
}

/// What two batches must agree in.
type Content = (Vec<u8>, Vec<Target>, Vec<usize>);

fn content(batch: Batch) -> Content {
    (batch.pixels.to_vec(), batch.targets, batch.items)
}

fn epoch(loader: &Loader, number: u64) -> Vec<Content> {
    loader
        .epoch(number, 0, true)
        .unwrap()
        .map(|batch| content(batch.unwrap()))
        .collect()
}

#[test]
fn an_epoch_holds_every_image_once_and_keeps_the_smaller_last_batch() {
    let folder = tempfile::tempdir().unwrap();
    let loader = Loader::new(Arc::new(dataset(folder.path(), 10)), options()).unwrap();
    assert_eq!(loader.batches(), 3);
    let batches: Vec<Batch> = loader.epoch(0, 0, true).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [4, 4, 2]);
    for batch in &batches {
        assert_eq!((batch.width, batch.height), (64, 64));
        assert_eq!(batch.pixels.len(), batch.len() * 64 * 64 * 3);
        assert!(batch.placements.is_empty());
        assert!(batch.targets.is_sorted_by_key(|target| target.image));
        assert!(
            batch
                .targets
                .iter()
                .all(|t| (t.image as usize) < batch.len() && t.w > 0.0 && t.h > 0.0)
        );
    }
    let mut items: Vec<usize> = batches.iter().flat_map(|batch| batch.items.clone()).collect();
    assert_ne!(items, (0..10).collect::<Vec<_>>(), "shuffled");
    items.sort_unstable();
    assert_eq!(items, (0..10).collect::<Vec<_>>());
}

#[test]
fn threads_cache_and_prefetch_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = Arc::new(dataset(folder.path(), 13));
    let expected = epoch(&Loader::new(Arc::clone(&dataset), options()).unwrap(), 3);
    for (workers, prefetch, cache_bytes) in [(1, 0, 0), (3, 1, 1 << 20), (7, 4, 20_000), (2, 2, 0)] {
        let options = LoaderOptions {
            workers,
            prefetch,
            cache_bytes,
            ..options()
        };
        let loader = Loader::new(Arc::clone(&dataset), options).unwrap();
        assert!(epoch(&loader, 3) == expected, "{options:?}");
        assert!(epoch(&loader, 3) == expected, "{options:?}, a second time");
    }
}

#[test]
fn an_epoch_can_be_resumed_at_any_batch() {
    let folder = tempfile::tempdir().unwrap();
    let loader = Loader::new(
        Arc::new(dataset(folder.path(), 9)),
        LoaderOptions {
            workers: 2,
            ..options()
        },
    )
    .unwrap();
    let whole = epoch(&loader, 5);
    for start in 0..=whole.len() + 1 {
        let rest: Vec<Content> = loader
            .epoch(5, start, true)
            .unwrap()
            .map(|batch| content(batch.unwrap()))
            .collect();
        assert!(rest == whole[start.min(whole.len())..], "from batch {start}");
    }
}

#[test]
fn epochs_and_seeds_differ() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = Arc::new(dataset(folder.path(), 8));
    let loader = Loader::new(Arc::clone(&dataset), options()).unwrap();
    let other = Loader::new(
        dataset,
        LoaderOptions {
            seed: 12,
            ..options()
        },
    )
    .unwrap();
    assert!(epoch(&loader, 0) != epoch(&loader, 1));
    assert!(epoch(&loader, 0) != epoch(&other, 0));
}

#[test]
fn a_sample_does_not_depend_on_the_batch_size() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = Arc::new(dataset(folder.path(), 8));
    let pixels = |batch| {
        let loader = Loader::new(Arc::clone(&dataset), LoaderOptions { batch, ..options() }).unwrap();
        epoch(&loader, 2)
            .into_iter()
            .flat_map(|(pixels, ..)| pixels)
            .collect::<Vec<u8>>()
    };
    assert!(pixels(1) == pixels(8));
    assert!(
        pixels(3) == pixels(100),
        "a batch larger than the dataset is the dataset"
    );
}

#[test]
fn without_augmentation_a_sample_is_the_centred_image() {
    let folder = tempfile::tempdir().unwrap();
    let loader = Loader::new(
        Arc::new(dataset(folder.path(), 1)),
        LoaderOptions {
            augment: Augment::none(),
            ..options()
        },
    )
    .unwrap();
    let [(pixels, targets, _)] = &epoch(&loader, 0)[..] else {
        panic!("one batch")
    };
    let image = common::noisy(64, 48, 0);
    assert_eq!(&pixels[8 * 64 * 3..56 * 64 * 3], image.pixels());
    assert!(pixels[..8 * 64 * 3].iter().all(|&p| p == BACKGROUND));
    assert_eq!(
        targets,
        &[Target {
            image: 0,
            class: 0,
            cx: 0.5,
            cy: 0.5,
            w: 0.5,
            h: 0.375
        }]
    );
}

#[test]
fn closing_mosaic_shows_each_image_alone() {
    let folder = tempfile::tempdir().unwrap();
    let loader = Loader::new(Arc::new(dataset(folder.path(), 8)), options()).unwrap();
    for batch in loader.epoch(0, 0, false).unwrap() {
        let batch = batch.unwrap();
        for target in &batch.targets {
            assert_eq!(usize::from(target.class), batch.items[target.image as usize]);
        }
    }
}

#[test]
fn with_room_for_all_each_image_is_read_once_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = Arc::new(dataset(folder.path(), 8));
    let loader = Loader::new(
        dataset,
        LoaderOptions {
            workers: 3,
            ..options()
        },
    )
    .unwrap();
    let before = epoch(&loader, 0);
    folder.close().unwrap();
    assert!(epoch(&loader, 0) == before);
    assert_eq!(loader.unreadable(), 0);
}

#[test]
fn an_unreadable_image_is_replaced_by_the_next_readable_one() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), 5);
    std::fs::write(&dataset.items[1].image, b"no image").unwrap();
    std::fs::write(&dataset.items[4].image, b"").unwrap();
    let dataset = Arc::new(dataset);
    let runs = [0, 3].map(|workers| {
        let augment = Augment {
            mosaic: 0.0,
            ..Augment::default()
        };
        let options = LoaderOptions {
            workers,
            augment,
            ..options()
        };
        let loader = Loader::new(Arc::clone(&dataset), options).unwrap();
        let batches = epoch(&loader, 0);
        assert_eq!(loader.unreadable(), 2);
        batches
    });
    assert!(runs[0] == runs[1]);
    let mut items: Vec<usize> = runs[0].iter().flat_map(|(_, _, items)| items.clone()).collect();
    items.sort_unstable();
    assert_eq!(items, [0, 0, 2, 2, 3], "0 stands for 4, 2 for 1");
}

#[test]
fn a_dataset_without_a_readable_image_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = Arc::new(dataset(folder.path(), 3));
    folder.close().unwrap();
    for workers in [0, 2] {
        let loader = Loader::new(Arc::clone(&dataset), LoaderOptions { workers, ..options() }).unwrap();
        let mut batches = loader.epoch(0, 0, true).unwrap();
        assert!(matches!(
            batches.next(),
            Some(Err(LoadError::NothingReadable { items: 3 }))
        ));
        assert!(batches.next().is_none());
    }
}

#[test]
fn dropping_the_batches_stops_the_threads() {
    let folder = tempfile::tempdir().unwrap();
    let loader = Loader::new(
        Arc::new(dataset(folder.path(), 12)),
        LoaderOptions {
            workers: 3,
            batch: 1,
            ..options()
        },
    )
    .unwrap();
    for taken in 0..4 {
        let mut batches = loader.epoch(0, 0, true).unwrap();
        for _ in 0..taken {
            batches.next().unwrap().unwrap();
        }
        // Joins; a thread that didn't stop would hang the test.
        drop(batches);
    }
}

#[test]
fn unusable_options_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = Arc::new(dataset(folder.path(), 1));
    let refused = |options| {
        Loader::new(Arc::clone(&dataset), options)
            .err()
            .unwrap()
            .to_string()
    };
    let message = refused(LoaderOptions {
        imgsz: 100,
        ..options()
    });
    assert_eq!(
        message,
        "an image size of 100 is not a multiple of 32; 128 is the next"
    );
    refused(LoaderOptions {
        imgsz: 0,
        ..options()
    });
    refused(LoaderOptions {
        augment: Augment {
            flipud: 2.0,
            ..Augment::default()
        },
        ..options()
    });
    let empty = Loader::new(Arc::new(Dataset::default()), options())
        .err()
        .unwrap();
    assert!(matches!(empty, LoadError::Empty));
    assert!(ValLoader::new(Arc::new(Dataset::default()), ValOptions::default()).is_err());
}

// ---- validation ----------------------------------------------------------------------------------------------------

fn val_options() -> ValOptions {
    ValOptions {
        imgsz: 64,
        batch: 4,
        workers: 0,
        ..ValOptions::default()
    }
}

fn validation(dataset: &Arc<Dataset>, options: ValOptions) -> Vec<Batch> {
    let loader = ValLoader::new(Arc::clone(dataset), options).unwrap();
    loader.batches().unwrap().map(Result::unwrap).collect()
}

#[test]
fn validation_shows_every_image_once_in_rectangles() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = Arc::new(dataset(folder.path(), 8));
    let batches = validation(&dataset, val_options());
    // By height / width: twice 0.5 and twice 0.75; twice 1 and twice 1.6.
    assert_eq!(
        batches.iter().map(|b| b.items.clone()).collect::<Vec<_>>(),
        [[2, 6, 0, 4], [3, 7, 1, 5]]
    );
    assert_eq!((batches[0].width, batches[0].height), (96, 64));
    assert_eq!((batches[1].width, batches[1].height), (96, 96));
}

#[test]
fn validation_pixels_are_the_resized_image_on_grey_and_its_box_leads_back() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = Arc::new(dataset(folder.path(), 8));
    for shape in [ValShape::Rectangular, ValShape::Square] {
        for batch in validation(
            &dataset,
            ValOptions {
                shape,
                ..val_options()
            },
        ) {
            let (width, height) = (batch.width, batch.height);
            for (n, &item) in batch.items.iter().enumerate() {
                let (w, h) = dataset.items[item].size;
                let ratio = 64.0 / w.max(h) as f64;
                let side = |n: usize| (n as f64 * ratio).ceil() as usize;
                let expected = resize(&common::noisy(w, h, item as u64), side(w), side(h));
                let pixels = &batch.pixels[n * width * height * 3..][..width * height * 3];
                let (left, top) = ((width - expected.width()) / 2, (height - expected.height()) / 2);
                for y in 0..height {
                    let row = &pixels[y * width * 3..(y + 1) * width * 3];
                    let inside = (top..top + expected.height()).contains(&y);
                    let content = if inside {
                        expected.row(y - top).to_vec()
                    } else {
                        vec![]
                    };
                    assert_eq!(&row[left * 3..][..content.len()], content, "item {item}, row {y}");
                    let outside = row[..left * 3].iter().chain(&row[left * 3 + content.len()..]);
                    assert!(outside.clone().all(|&p| p == BACKGROUND), "item {item}, row {y}");
                }

                let target = batch.targets.iter().find(|t| t.image as usize == n).unwrap();
                assert_eq!(usize::from(target.class), item);
                let (cx, cy) = (target.cx * width as f32, target.cy * height as f32);
                let (hw, hh) = (target.w * width as f32 / 2.0, target.h * height as f32 / 2.0);
                let back = batch.placements[n].to_original([cx - hw, cy - hh, cx + hw, cy + hh]);
                let (w, h) = (w as f32, h as f32);
                for (ours, expected) in back
                    .into_iter()
                    .zip([w / 4.0, h / 4.0, 3.0 * w / 4.0, 3.0 * h / 4.0])
                {
                    assert!((ours - expected).abs() < 1e-3, "item {item}: {back:?}");
                }
            }
        }
    }
}

#[test]
fn validation_leaves_out_what_it_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), 8);
    let whole = validation(&Arc::new(dataset.clone()), val_options());
    for item in [6, 3, 7] {
        std::fs::write(&dataset.items[item].image, b"no image").unwrap();
    }
    let dataset = Arc::new(dataset);
    for workers in [0, 3] {
        let batches = validation(
            &dataset,
            ValOptions {
                workers,
                ..val_options()
            },
        );
        assert_eq!(
            batches.iter().map(|b| b.items.clone()).collect::<Vec<_>>(),
            [vec![2, 0, 4], vec![1, 5]]
        );
        let one = whole[0].width * whole[0].height * 3;
        assert!(batches[0].pixels[..one] == whole[0].pixels[..one]);
        assert!(
            batches[0].pixels[one..] == whole[0].pixels[2 * one..],
            "the gap is closed"
        );
        assert_eq!(batches[0].placements.len(), 3);
        assert_eq!(
            batches[0]
                .targets
                .iter()
                .map(|t| (t.image, t.class))
                .collect::<Vec<_>>(),
            [(0, 2), (1, 0), (2, 4)]
        );
    }
}

#[test]
fn a_validation_batch_without_any_readable_image_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), 6);
    for item in [2, 0, 4] {
        std::fs::remove_file(&dataset.items[item].image).unwrap();
    }
    let options = ValOptions {
        batch: 3,
        ..val_options()
    };
    let batches = validation(&Arc::new(dataset), options);
    assert_eq!(
        batches.iter().map(|b| b.items.clone()).collect::<Vec<_>>(),
        [[3, 1, 5]]
    );
}

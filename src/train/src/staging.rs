//! Batches on their way to the network's device.
//!
//! On a CUDA device the pixels go up as bytes, from pinned memory, one batch ahead: the next batch's upload is issued
//! before the step of the one in hand, so the host prepares it while the device still works (both are on one stream, so
//! the copy itself, a few megabytes, takes its turn). On the CPU nothing is ahead of its time and nothing is copied twice.

use crate::Error;
use dataset::batch::Batch;
use detector::net::from_rgb;
use std::collections::VecDeque;
use tch::{Device, Tensor};

/// A batch and its images as network input.
pub struct Staged {
    /// What the loader gave.
    pub batch: Batch,
    /// B x 3 x H x W on the device.
    pub images: Tensor,
}

impl Staged {
    /// Begins the batch's way to `device`.
    pub fn new(batch: Batch, device: Device) -> Result<Self, Error> {
        let images = images(&batch, device)?;
        Ok(Self { batch, images })
    }
}

/// Images of a batch as network input.
pub(crate) fn images(batch: &Batch, device: Device) -> Result<Tensor, Error> {
    Ok(from_rgb(
        &batch.pixels,
        batch.items.len(),
        batch.height,
        batch.width,
        device,
    )?)
}

/// Stages what `batches` gives, in its order, `ahead` batches ahead of their use.
pub struct Staging<I> {
    batches: I,
    device: Device,
    ahead: usize,
    staged: VecDeque<Result<Staged, Error>>,
}

impl<I> Staging<I> {
    /// Stages for `device`: one batch ahead for a CUDA device, none for the CPU.
    pub fn new(batches: I, device: Device) -> Self {
        Self {
            batches,
            device,
            ahead: usize::from(device.is_cuda()),
            staged: VecDeque::new(),
        }
    }
}

impl<I, E> Iterator for Staging<I>
where
    I: Iterator<Item = Result<Batch, E>>,
    Error: From<E>,
{
    type Item = Result<Staged, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.staged.len() <= self.ahead {
            let Some(batch) = self.batches.next() else { break };
            let staged = batch
                .map_err(Error::from)
                .and_then(|batch| Staged::new(batch, self.device));
            self.staged.push_back(staged);
        }
        self.staged.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Batches of one grey 32 x 32 image each, `items` telling which, counted as they are asked for.
    fn batches(asked: &Cell<usize>) -> impl Iterator<Item = Result<Batch, Error>> {
        (0..4).map(move |index| {
            asked.set(index + 1);
            Ok(Batch {
                pixels: vec![index as u8 * 51; 32 * 32 * 3].into(),
                width: 32,
                height: 32,
                targets: Vec::new(),
                items: vec![index],
                placements: Vec::new(),
            })
        })
    }

    fn staging(asked: &Cell<usize>, ahead: usize) -> Staging<impl Iterator<Item = Result<Batch, Error>>> {
        Staging {
            ahead,
            ..Staging::new(batches(asked), Device::Cpu)
        }
    }

    #[test]
    fn every_batch_comes_once_in_order_with_its_own_images() {
        for ahead in [0, 1] {
            let asked = Cell::new(0);
            let came: Vec<_> = staging(&asked, ahead)
                .map(|staged| {
                    let Staged { batch, images } = staged.unwrap();
                    (batch.items, (images.double_value(&[0, 2, 31, 31]) * 5.0).round())
                })
                .collect();
            let expected: Vec<_> = (0..4).map(|i| (vec![i], i as f64)).collect();
            assert_eq!(came, expected);
        }
    }

    #[test]
    fn one_ahead_stages_the_next_batch_before_the_one_in_hand_is_used() {
        for (ahead, after_first) in [(0, 1), (1, 2)] {
            let asked = Cell::new(0);
            let mut staging = staging(&asked, ahead);
            let _first = staging.next().unwrap().unwrap();
            assert_eq!(asked.get(), after_first);
        }
    }

    #[test]
    fn an_error_comes_in_its_place() {
        let asked = Cell::new(0);
        let broken = batches(&asked)
            .take(1)
            .chain([Err(Error::NothingToTrainOn("x".into()))])
            .chain(batches(&asked).take(1));
        let mut staging = Staging {
            ahead: 1,
            ..Staging::new(broken, Device::Cpu)
        };
        let fine: Vec<bool> = staging.by_ref().map(|staged| staged.is_ok()).collect();
        assert_eq!(fine, [true, false, true]);
    }
}

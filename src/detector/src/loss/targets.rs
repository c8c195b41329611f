//! The objects that a batch should show.

use super::{Grid, LossError};

/// One object of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    /// Class index.
    pub class: u16,
    /// Centre, width and height, relative to the network input.
    pub xywh: [f32; 4],
}

impl Truth {
    /// Corners in pixels of the network input.
    pub fn xyxy(&self, grid: &Grid) -> [f32; 4] {
        let (width, height) = (grid.width() as f32, grid.height() as f32);
        let [x, y, w, h] = self.xywh;
        let (x, y, w, h) = (x * width, y * height, w * width, h * height);
        [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0]
    }
}

/// The objects of a batch, by image.
#[derive(Clone, Debug, PartialEq)]
pub struct Targets {
    truths: Vec<Truth>,
    /// Image i owns `truths[starts[i]..starts[i + 1]]`; one entry more than images.
    starts: Vec<usize>,
}

impl Targets {
    /// Groups (image, object) pairs by image; inside an image the given order stays. The pairs need not be sorted.
    pub fn new(images: usize, pairs: &[(usize, Truth)]) -> Result<Self, LossError> {
        let mut starts = vec![0; images + 1];
        for (index, &(image, _)) in pairs.iter().enumerate() {
            let unknown = LossError::Target {
                index,
                what: "image",
                value: image,
                count: images,
            };
            *starts[1..].get_mut(image).ok_or(unknown)? += 1;
        }
        for image in 0..images {
            starts[image + 1] += starts[image];
        }
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.sort_by_key(|&i| pairs[i].0);
        Ok(Self {
            truths: order.into_iter().map(|i| pairs[i].1).collect(),
            starts,
        })
    }

    /// Images in the batch, those without objects included.
    pub fn images(&self) -> usize {
        self.starts.len() - 1
    }

    /// Objects in the batch.
    pub fn len(&self) -> usize {
        self.truths.len()
    }

    /// Whether no image shows an object.
    pub fn is_empty(&self) -> bool {
        self.truths.is_empty()
    }

    /// The objects of an image; none for an image that is not in the batch.
    pub fn image(&self, image: usize) -> &[Truth] {
        match self.starts.get(image..) {
            Some(&[start, end, ..]) => &self.truths[start..end],
            _ => &[],
        }
    }

    pub(super) fn check_classes(&self, classes: usize) -> Result<(), LossError> {
        match self.truths.iter().position(|t| usize::from(t.class) >= classes) {
            None => Ok(()),
            Some(index) => Err(LossError::Target {
                index,
                what: "class",
                value: self.truths[index].class.into(),
                count: classes,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(class: u16) -> Truth {
        Truth {
            class,
            xywh: [0.5; 4],
        }
    }

    #[test]
    fn pairs_are_grouped_by_image_and_keep_their_order() {
        let pairs = [(2, truth(5)), (0, truth(1)), (2, truth(4)), (0, truth(0))];
        let targets = Targets::new(4, &pairs).unwrap();
        assert_eq!(targets.image(0), [truth(1), truth(0)]);
        assert_eq!(targets.image(1), []);
        assert_eq!(targets.image(2), [truth(5), truth(4)]);
        assert_eq!(targets.image(3), []);
        assert_eq!(targets.image(4), []);
        assert_eq!((targets.images(), targets.len()), (4, 4));
    }

    #[test]
    fn an_unknown_image_or_class_is_named() {
        let image = Targets::new(1, &[(0, truth(0)), (1, truth(0))]).unwrap_err();
        assert!(
            image
                .to_string()
                .starts_with("target 1: its image is 1, but there are only 1"),
            "{image}"
        );
        let class = Targets::new(1, &[(0, truth(3))])
            .unwrap()
            .check_classes(3)
            .unwrap_err();
        assert!(
            class
                .to_string()
                .starts_with("target 0: its class is 3, but there are only 3"),
            "{class}"
        );
    }

    #[test]
    fn corners_are_in_pixels_of_the_network_input() {
        let grid = Grid::for_input(64, 32).unwrap();
        let truth = Truth {
            class: 0,
            xywh: [0.5, 0.5, 0.25, 0.5],
        };
        assert_eq!(truth.xyxy(&grid), [24.0, 8.0, 40.0, 24.0]);
    }
}

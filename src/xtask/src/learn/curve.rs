//! A run's `results.csv`, in the form that both sides write.

use std::path::Path;

/// An epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// From 1.
    pub epoch: u32,
    /// Seconds since the process began that trained it.
    pub time: f64,
    /// Sum of the training losses.
    pub loss: f64,
    /// Of the validation images.
    pub map50: f64,
    /// Of the validation images.
    pub map50_95: f64,
}

/// What a run has measured so far, by epoch; nothing where there is no file. An epoch that was repeated counts once.
pub fn read(results: &Path) -> Vec<Point> {
    parse(&std::fs::read_to_string(results).unwrap_or_default())
}

fn parse(csv: &str) -> Vec<Point> {
    let mut lines = csv
        .lines()
        .map(|line| line.split(',').map(str::trim).collect::<Vec<_>>());
    let Some(names) = lines.next() else {
        return Vec::new();
    };
    let mut points: Vec<Point> = Vec::new();
    for fields in lines {
        let number = |name: &str| {
            let at = names.iter().position(|known| *known == name)?;
            fields.get(at)?.parse::<f64>().ok()
        };
        let point = || {
            let losses = ["train/box_loss", "train/cls_loss", "train/l1_loss"].map(number);
            Some(Point {
                epoch: number("epoch")? as u32,
                time: number("time")?,
                loss: losses.into_iter().sum::<Option<f64>>()?,
                map50: number("metrics/mAP50(B)")?,
                map50_95: number("metrics/mAP50-95(B)")?,
            })
        };
        // The last line may be in the making.
        if let Some(point) = point() {
            points.retain(|known| known.epoch < point.epoch);
            points.push(point);
        }
    }
    points
}

/// Seconds of training and validation, also where the clock began anew when the run was resumed.
pub fn seconds(points: &[Point]) -> f64 {
    let mut before = 0.0;
    let mut sum = 0.0;
    for Point { time, .. } in points {
        sum += if *time >= before { time - before } else { *time };
        before = *time;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "epoch,time,train/box_loss,train/cls_loss,train/l1_loss,metrics/mAP50(B),metrics/mAP50-95(B)";

    #[test]
    fn the_table_that_both_sides_write_is_read() {
        let points = parse(&format!("{HEAD}\n1,10.5,1,2,0.5,0.25,0.125\n"));
        let [point] = points.as_slice() else {
            panic!("{points:?}")
        };
        assert_eq!((point.epoch, point.time, point.loss), (1, 10.5, 3.5));
        assert_eq!((point.map50, point.map50_95), (0.25, 0.125));
    }

    #[test]
    fn a_line_in_the_making_is_left_for_later_and_a_repeated_epoch_counts_once() {
        let points = parse(&format!(
            "{HEAD}\n1,10,1,1,1,.1,.1\n2,20,1,1,1,.2,.1\n2,9,1,1,1,.3,.1\n3,19,1"
        ));
        let found: Vec<_> = points.iter().map(|point| (point.epoch, point.map50)).collect();
        assert_eq!(found, [(1, 0.1), (2, 0.3)]);
    }

    #[test]
    fn the_seconds_of_a_resumed_run_add_up() {
        let points = parse(&format!(
            "{HEAD}\n1,10,1,1,1,0,0\n2,20,1,1,1,0,0\n3,12,1,1,1,0,0\n4,22,1,1,1,0,0\n"
        ));
        assert_eq!(seconds(&points), 42.0);
    }
}

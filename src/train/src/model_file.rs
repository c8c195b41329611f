//! Model files of a run: `best.pt` out, base weights in.

use crate::{Error, checkpoint::Checkpoint};
use detector::{
    Detector,
    weights::{Meta, Model, WeightMap, read_file, write_pt},
};
use std::path::Path;

/// A model file with the weights of `detector`, in 32 bit, both heads, and what is to be known of them.
pub fn bytes(detector: &Detector, names: &[String], imgsz: usize) -> Result<Vec<u8>, Error> {
    let meta = Meta::new(detector.config(), names.to_vec(), u32::try_from(imgsz).ok())?;
    Ok(write_pt(&WeightMap::of(detector.state())?, &meta)?)
}

/// Reads a `.pt` or `.safetensors` file as a network.
pub fn read_model(path: &Path) -> Result<Model, Error> {
    read_file(path)
        .and_then(|bytes| Model::from_bytes(&bytes))
        .map_err(|source| Error::Model {
            path: path.to_owned(),
            source,
        })
}

/// The tensors of a checkpoint under `prefix`.
pub fn weights(checkpoint: &Checkpoint, prefix: &str) -> Result<WeightMap, Error> {
    let mut map = WeightMap::default();
    for (name, array) in &checkpoint.arrays {
        if let Some(name) = name.strip_prefix(prefix) {
            let sizes: Vec<i64> = array.shape.iter().map(|&s| s as i64).collect();
            map.insert(name.to_owned(), torch::from_f32(&array.values, &sizes)?)?;
        }
    }
    Ok(map)
}

//! The network's input.

use crate::{Error, Result};
use tch::{Device, Kind, Tensor};
use torch::During;

/// A batch of RGB images as the network takes them: float32 in 0..1, B x 3 x H x W, in channels-last memory, for that is
/// how the pixels come. `pixels` is B x H x W x 3.
///
/// # Errors
/// The number of bytes is not the product of the sizes, or memory ran out.
pub fn from_rgb(pixels: &[u8], batch: usize, height: usize, width: usize, device: Device) -> Result<Tensor> {
    let sizes = [batch, height, width, 3].map(|size| i64::try_from(size).unwrap_or(i64::MAX));
    // As bytes, for that is a quarter of the way to a device.
    let bytes = torch::upload(pixels, &sizes, Kind::Uint8, device)?;
    let images = bytes
        .f_permute([0, 3, 1, 2])
        .and_then(|image| image.f_totype(Kind::Float))
        .and_then(|mut image| image.f_div_scalar_(255.0));
    Ok(images.during("images")?)
}

/// Refuses what the network cannot take, before a convolution says it less clearly.
pub(super) fn check(operation: &'static str, images: &Tensor) -> Result<()> {
    let fits = matches!(images.size().as_slice(), &[batch, 3, height, width]
        if batch > 0 && height > 0 && width > 0 && height % 32 == 0 && width % 32 == 0);
    if fits
        && matches!(
            images.f_kind().during("images")?,
            Kind::Float | Kind::BFloat16 | Kind::Half
        )
    {
        return Ok(());
    }
    let got = format!("{:?} {:?}", images.f_kind().during("images")?, images.size());
    Err(Error::mismatch(
        operation,
        "a float tensor B x 3 x H x W with H and W multiples of 32",
        got,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_channels_in_0_to_1_without_reordering_memory() {
        let pixels: Vec<u8> = (0..2 * 32 * 64 * 3).map(|i| (i % 251) as u8).collect();
        let images = from_rgb(&pixels, 2, 32, 64, Device::Cpu).unwrap();
        assert_eq!(images.size(), [2, 3, 32, 64]);
        assert!(torch::MemoryFormat::ChannelsLast.is_of(&images).unwrap());
        let at = ((32 + 5) * 64 + 7) * 3 + 2;
        assert_eq!(
            images.double_value(&[1, 2, 5, 7]) as f32,
            f32::from(pixels[at]) / 255.0
        );
        assert!(check("test", &images).is_ok());
    }

    #[test]
    fn wrong_inputs_are_named() {
        assert!(from_rgb(&[0; 10], 1, 2, 2, Device::Cpu).is_err());
        for sizes in [
            &[1, 3, 33, 32][..],
            &[1, 4, 32, 32],
            &[3, 32, 32],
            &[0, 3, 32, 32],
        ] {
            let images = Tensor::zeros(sizes, (Kind::Float, Device::Cpu));
            let text = check("forward", &images).unwrap_err().to_string();
            assert!(
                text.starts_with("forward: expected") && text.contains(&format!("{sizes:?}")),
                "{text}"
            );
        }
        assert!(
            check(
                "forward",
                &Tensor::zeros([1, 3, 32, 32], (Kind::Uint8, Device::Cpu))
            )
            .is_err()
        );
    }
}

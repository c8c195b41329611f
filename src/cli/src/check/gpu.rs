//! The GPU: what NVIDIA's driver says, which is looked for while the program runs. Without one, training uses the CPU, unless
//! the configuration asks for a GPU.

use super::{Context, Finding};
use gpu::NvmlError;

const PLACE: &str = "NVIDIA driver";

/// What the driver says.
struct Seen {
    driver: String,
    gpus: Vec<Gpu>,
}

struct Gpu {
    name: String,
    total_bytes: u64,
    free_bytes: u64,
}

pub(super) fn look(context: &Context) -> Vec<Finding> {
    let seen = ask().map_err(|error| error.to_string());
    judge(&context.config.training.device, seen)
}

fn ask() -> Result<Seen, NvmlError> {
    let nvml = gpu::open()?;
    let gpus = (0..nvml.device_count()?).map(|index| {
        let device = nvml.device_by_index(index)?;
        let memory = device.memory_info()?;
        Ok(Gpu {
            name: device.name()?,
            total_bytes: memory.total,
            free_bytes: memory.free,
        })
    });
    Ok(Seen {
        driver: nvml.sys_driver_version()?,
        gpus: gpus.collect::<Result<_, NvmlError>>()?,
    })
}

fn judge(device: &str, seen: Result<Seen, String>) -> Vec<Finding> {
    // The configuration was checked: it is auto, cpu, cuda or cuda:N.
    let needed: Option<usize> = device.strip_prefix("cuda").map(|rest| {
        let number = rest.strip_prefix(':').and_then(|number| number.parse().ok());
        number.unwrap_or(0)
    });
    let (gpus, without) = match seen {
        Ok(Seen { driver, gpus }) => (list(&driver, &gpus), "there is no such GPU".to_owned()),
        Err(why) => (Vec::new(), format!("none answers ({why})")),
    };
    match needed {
        Some(number) if number >= gpus.len() => vec![Finding::problem(
            PLACE,
            format!("training.device is {device}, and {without}"),
            "install the driver (nvidia-smi shows what it sees), or set training.device to auto or cpu",
        )],
        _ if gpus.is_empty() => vec![Finding::right(PLACE, "none: training uses the CPU")],
        _ => gpus,
    }
}

fn list(driver: &str, gpus: &[Gpu]) -> Vec<Finding> {
    gpus.iter()
        .enumerate()
        .map(|(index, gpu)| {
            let [free, total] = [gpu.free_bytes, gpu.total_bytes].map(|bytes| bytes as f64 / 1e9);
            Finding::right(
                format!("cuda:{index}"),
                format!("{}, driver {driver}, {free:.1} of {total:.1} GB free", gpu.name),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Grade;
    use super::*;

    fn seen(count: usize) -> Result<Seen, String> {
        let gpu = |index| Gpu {
            name: format!("GPU {index}"),
            total_bytes: 24_000_000_000,
            free_bytes: 23_500_000_000,
        };
        Ok(Seen {
            driver: "580.1".into(),
            gpus: (0..count).map(gpu).collect(),
        })
    }

    #[test]
    fn no_gpu_is_a_problem_only_where_one_is_asked_for() {
        let grade = |device: &str, seen| judge(device, seen)[0].grade;
        for device in ["auto", "cpu"] {
            assert_eq!(grade(device, Err("no library".into())), Grade::Ok);
            assert_eq!(grade(device, seen(0)), Grade::Ok);
        }
        for device in ["cuda", "cuda:0"] {
            assert_eq!(grade(device, Err("no library".into())), Grade::Problem);
            assert_eq!(grade(device, seen(0)), Grade::Problem);
            assert_eq!(grade(device, seen(1)), Grade::Ok);
        }
        assert_eq!(grade("cuda:1", seen(1)), Grade::Problem);
    }

    #[test]
    fn each_gpu_is_told_with_its_memory() {
        let found = judge("auto", seen(2));
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].place, "cuda:1");
        assert_eq!(found[1].what, "GPU 1, driver 580.1, 23.5 of 24.0 GB free");
    }
}

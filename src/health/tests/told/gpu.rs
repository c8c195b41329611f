//! A GPU as the driver's library tells of it: a small library of our own in its place, whose readings the tests set.

use super::Site;
use std::{fs, path::Path, process::Command};

/// As far as health asks (nvml.h). Lines of the file READINGS: how many GPUs, temperature, code of an error.
const LIBRARY: &str = r#"
    #include <stdio.h>
    #include <string.h>
    static int reading(int line) {
        FILE *file = fopen(READINGS, "r");
        int value = -1;
        if (!file) return -1;
        for (int i = 0; i <= line; i++) if (fscanf(file, "%d", &value) != 1) value = -1;
        fclose(file);
        return value;
    }
    struct memory { unsigned version; unsigned long long total, reserved, free, used; };
    struct rates { unsigned gpu, memory; };
    int nvmlInit_v2(void) { return 0; }
    int nvmlInitWithFlags(unsigned flags) { return 0; }
    int nvmlShutdown(void) { return 0; }
    const char *nvmlErrorString(int code) { return "GPU is lost"; }
    int nvmlDeviceGetCount_v2(unsigned *count) { *count = reading(0); return 0; }
    int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
        static int one;
        *device = &one;
        return index < (unsigned)reading(0) ? 0 : 2;
    }
    int nvmlDeviceGetName(void *device, char *name, unsigned length) { strncpy(name, "A GPU of tests", length); return 0; }
    int nvmlDeviceGetUtilizationRates(void *device, struct rates *rates) { rates->gpu = 97; rates->memory = 40; return 0; }
    int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory *memory) {
        memory->total = 24000000000ULL; memory->used = 20000000000ULL; memory->free = 4000000000ULL;
        return 0;
    }
    int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius) { *celsius = reading(1); return reading(2); }
"#;

fn built(folder: &Path) -> bool {
    let (source, library) = (folder.join("nvml.c"), folder.join("libnvidia-ml.so.1"));
    fs::write(&source, LIBRARY).unwrap();
    let cc = Command::new("cc")
        .args(["-shared", "-fPIC", "-w", "-o"])
        .args([&library, &source])
        .arg(format!("-DREADINGS=\"{}\"", folder.join("readings").display()))
        .status();
    cc.is_ok_and(|status| status.success())
}

#[test]
fn a_hot_a_lost_and_an_absurd_gpu_are_told_and_a_cool_one_ends_it() {
    let mut site = Site::new();
    let folder = site.folder.path().to_owned();
    if !built(&folder) {
        eprintln!("skipped: a_hot_a_lost_and_an_absurd_gpu_are_told_and_a_cool_one_ends_it: no C compiler");
        return;
    }
    site.libraries = Some(folder.clone());
    let alerts = |count: i32, celsius: i32, error: i32| -> Vec<String> {
        fs::write(folder.join("readings"), format!("{count}\n{celsius}\n{error}\n")).unwrap();
        let status = site.pass();
        // What has to last has lasted.
        site.later(5);
        let alerts = status["alerts"].as_array().unwrap().iter();
        alerts
            .map(|alert| alert["code"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(alerts(1, 60, 0), Vec::<String>::new());
    assert_eq!(alerts(1, 91, 0), ["ALR-1"]);
    assert_eq!(alerts(1, 85, 0), ["ALR-1"], "it is cool below 80 °C");
    assert_eq!(alerts(1, 79, 0), ["ALR-1"], "it may come back");
    assert_eq!(alerts(1, 70, 0), Vec::<String>::new());
    // Gone, lost, and nonsense: each is one thing, told once it has lasted.
    assert_eq!(alerts(0, 70, 0), Vec::<String>::new());
    assert_eq!(alerts(0, 70, 0), ["ALR-11"]);
    assert_eq!(alerts(1, 70, 15), ["ALR-11"]);
    assert_eq!(alerts(1, 255, 0), ["ALR-11"]);
    assert_eq!(alerts(1, 70, 0), ["ALR-11"]);
    assert_eq!(alerts(1, 70, 0), Vec::<String>::new());
    let metrics = fs::read_to_string(site.root().join("status/metrics/health.prom")).unwrap();
    for line in [
        "gpu_temperature_c{gpu=\"0\"} 70",
        "gpu_utilization_pct{gpu=\"0\"} 97",
        "gpu_memory_used_mb{gpu=\"0\"} 20000",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
}

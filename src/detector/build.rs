//! The rpath of this package's tests (the head of the torch package's build.rs says why it is here).

use std::env;

fn main() -> Result<(), String> {
    let libraries = env::var("DEP_TCH_LIBTORCH_LIB").map_err(|_| {
        "DEP_TCH_LIBTORCH_LIB is not set: torch-sys must be a direct dependency of this package".to_owned()
    })?;
    println!("cargo::rustc-link-arg=-Wl,-rpath,{libraries}");
    println!("cargo::rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}

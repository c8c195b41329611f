//! The rpath of targets with libtorch (the head of the torch package's build.rs says why it is here).

use std::env;

fn main() {
    if let Ok(libraries) = env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{libraries}");
    }
    println!("cargo::rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    println!("cargo::rerun-if-changed=build.rs");
}

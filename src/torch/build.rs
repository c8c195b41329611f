//! Compiles the C++ shim against the headers of the libtorch that torch-sys found, with CUDA if that has it, and gives
//! this package's tests an rpath.
//!
//! Every package that makes a binary or a test linked with libtorch needs the rpath lines too, for cargo hands link
//! arguments to the package that printed them only: depend on torch-sys directly (its `links = "tch"` makes cargo pass
//! `DEP_TCH_LIBTORCH_LIB` to direct dependants) and print the same `cargo::rustc-link-arg`.

use std::env;
use std::path::{Path, PathBuf};

const LIBRARY_DIR: &str = "DEP_TCH_LIBTORCH_LIB";

fn main() -> Result<(), String> {
    let libraries = env::var(LIBRARY_DIR).map_err(|_| {
        format!("{LIBRARY_DIR} is not set: torch-sys must be a direct dependency of this package")
    })?;
    println!("cargo::rustc-link-arg=-Wl,-rpath,{libraries}");
    println!("cargo::rerun-if-env-changed={LIBRARY_DIR}");
    println!("cargo::rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo::rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=shim");

    let include = include_dir(Path::new(&libraries))?;
    let cuda = Path::new(&libraries).join("libtorch_cuda.so").is_file();
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    let mut build = cc::Build::new();
    if cuda {
        build.define("AZT_CUDA", None);
    }
    build
        .cpp(true)
        .pic(true)
        .std("c++20")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .opt_level(2)
        // Loops that libtorch's headers spread over its threads.
        .flag("-fopenmp")
        // libtorch's headers warn by the hundred.
        .warnings(false)
        .files(["shim/shim.cpp", "shim/norm.cpp", "shim/stacks.cpp"])
        .try_compile("azaion_torch_shim")
        .map_err(|error| {
            format!(
                "the C++ shim does not compile against {}: {error}",
                include.display()
            )
        })?;
    link_openmp(Path::new(&libraries))?;
    compile_kernels()
}

/// Links the OpenMP runtime that libtorch brings along, if it does: with another one there would be two sets of threads.
fn link_openmp(libraries: &Path) -> Result<(), String> {
    let entries =
        std::fs::read_dir(libraries).map_err(|error| format!("{}: {error}", libraries.display()))?;
    let bundled = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .find(|name| name.starts_with("libgomp") && name.contains(".so"));
    match bundled {
        Some(name) => {
            println!("cargo::rustc-link-search=native={}", libraries.display());
            println!("cargo::rustc-link-lib=dylib:+verbatim={name}");
        }
        None => println!("cargo::rustc-link-lib=gomp"),
    }
    Ok(())
}

/// The shim's own loops, which become vector code only if they need not stop at what is not a number.
fn compile_kernels() -> Result<(), String> {
    let mut build = cc::Build::new();
    if env::var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|features| features.split(',').any(|f| f == "avx2")) {
        build.flag("-march=x86-64-v3").flag("-mprefer-vector-width=512");
    }
    build
        .cpp(true)
        .pic(true)
        .std("c++20")
        .opt_level(3)
        .flag("-fno-trapping-math")
        .flag("-fno-math-errno")
        .file("shim/norm_kernels.cpp")
        .try_compile("azaion_norm_kernels")
        .map_err(|error| format!("the C++ loops do not compile: {error}"))
}

/// `include` beside `lib`, unless the environment says otherwise, as torch-sys has it.
fn include_dir(libraries: &Path) -> Result<PathBuf, String> {
    let root = match env::var_os("LIBTORCH_INCLUDE") {
        Some(root) => PathBuf::from(root),
        None => libraries.parent().map(Path::to_path_buf).ok_or_else(|| {
            format!(
                "{} has no parent folder to look for headers in",
                libraries.display()
            )
        })?,
    };
    let include = root.join("include");
    if include.join("ATen/ATen.h").is_file() {
        Ok(include)
    } else {
        Err(format!(
            "{} does not hold libtorch's headers; set LIBTORCH to a libtorch tree",
            include.display()
        ))
    }
}

# For those who work on azaion: the shell, the programs of `nix run`, and the checks of `nix flake check` that are no virtual
# machines. What cargo checks here is what `cargo xtask test` checks outside; the brokers it needs are not here, and the
# tests that want one skip themselves by name.
{
  lib,
  pkgs,
  azaion,
}:
let
  env.LIBTORCH = "${azaion.libtorch-cpu}";
  toolchain = [
    pkgs.cargo
    pkgs.clippy
    pkgs.rustc
    pkgs.rustfmt
  ];
  nixFiles = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../flake.nix
      ../nixos-module
      ../tests/nix-standin
      ../tests/nixos
    ];
  };
  workspace = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../.cargo
      ../.ci
      ../.github
      ../Cargo.lock
      ../Cargo.toml
      ../clippy.toml
      ../docs
      ../flake.lock
      ../flake.nix
      ../nixos-module
      ../rustfmt.toml
      ../src
      ../tests
      ../units
    ];
  };
  cargo =
    name: commands:
    pkgs.rustPlatform.buildRustPackage {
      pname = "azaion-${name}";
      version = "0";
      src = workspace;
      cargoLock.lockFile = ../Cargo.lock;
      nativeBuildInputs = toolchain ++ [ pkgs.python3 ];
      buildInputs = [ azaion.libtorch-cpu ];
      inherit env;
      buildPhase = commands;
      doCheck = false;
      installPhase = "touch $out";
    };
in
{
  programs = {
    demo = pkgs.writeShellApplication {
      name = "azaion-demo";
      text = ''exec ${azaion.azaion-suite}/bin/azaion demo "$@"'';
    };
    test = pkgs.writeShellApplication {
      name = "azaion-test";
      runtimeInputs = toolchain ++ [
        pkgs.python3
        pkgs.stdenv.cc
      ];
      text = ''
        export LIBTORCH=${env.LIBTORCH}
        exec cargo xtask test "$@"
      '';
    };
  };

  shell = pkgs.mkShell {
    packages = toolchain ++ [
      pkgs.deadnix
      pkgs.nixfmt
      pkgs.python3
      pkgs.rust-analyzer
    ];
    inherit env;
  };

  checks = {
    rustfmt = cargo "rustfmt" "cargo fmt --all --check";
    clippy = cargo "clippy" "cargo clippy --workspace --all-targets --offline -- -D warnings";
    tests = cargo "tests" "OMP_NUM_THREADS=1 cargo test --workspace --offline --no-fail-fast";
    nix = pkgs.runCommand "azaion-nix-files" { } ''
      find ${nixFiles} -name '*.nix' -exec ${pkgs.nixfmt}/bin/nixfmt --check {} +
      ${pkgs.deadnix}/bin/deadnix --fail ${nixFiles}
      touch $out
    '';
  };
}

# The packages and builders of nixpkgs that this repository names. They are derivations that refuse to be built.
{
  lib,
  system,
  nixos,
}:
let
  refusing =
    attributes:
    derivation (
      {
        inherit system;
        builder = "/bin/sh";
        args = [
          "-c"
          "echo 'tests/nix-standin stands in for nixpkgs: nothing is built from it' >&2; exit 1"
        ];
      }
      // attributes
    );
  # What a builder was given, its meta aside, which is no part of a derivation.
  built =
    arguments:
    refusing (
      {
        name = arguments.name or "${arguments.pname}-${arguments.version}";
      }
      // lib.optionalAttrs (arguments ? env) arguments.env
      // removeAttrs arguments [
        "cargoLock"
        "env"
        "meta"
        "src"
      ]
    )
    // {
      meta = arguments.meta or { };
    };
  program = name: refusing { inherit name; };
  programs = lib.mapAttrs (name: _: program name) {
    autoAddDriverRunpath = { };
    autoPatchelfHook = { };
    cargo = { };
    clippy = { };
    coreutils = { };
    deadnix = { };
    imagemagick = { };
    nixfmt = { };
    nixfmt-tree = { };
    python3 = { };
    rclone = { };
    rust-analyzer = { };
    rustc = { };
    rustfmt = { };
    unzip = { };
  };
in
programs
// {
  inherit lib;
  stdenv.cc = program "gcc" // {
    cc.lib = program "gcc-lib";
  };
  stdenvNoCC.mkDerivation = built;

  rustPlatform.buildRustPackage =
    arguments:
    let
      lock = lib.importTOML arguments.cargoLock.lockFile;
    in
    assert builtins.pathExists (arguments.src + "/Cargo.toml");
    assert lock.version >= 3;
    # A package from a git repository would need a hash of its own in cargoLock.outputHashes.
    assert builtins.all (package: !(lib.hasPrefix "git+" (package.source or ""))) lock.package;
    built arguments;

  fetchPypi =
    {
      pname,
      version,
      format,
      dist,
      python,
      abi,
      platform,
      sha256,
    }:
    assert format == "wheel" && dist == python;
    assert builtins.match "[0-9a-f]{64}" sha256 != null;
    refusing {
      name = "${pname}-${version}-${python}-${abi}-${platform}.whl";
      inherit sha256;
    };

  mkShell =
    {
      packages,
      env ? { },
    }:
    refusing (
      env
      // {
        name = "nix-shell";
        buildInputs = packages;
      }
    );
  runCommand =
    name: environment: buildCommand:
    refusing (environment // { inherit name buildCommand; });
  symlinkJoin =
    {
      name,
      paths,
      postBuild ? "",
      meta ? { },
    }:
    refusing { inherit name paths postBuild; } // { inherit meta; };
  writeShellApplication =
    {
      name,
      text,
      runtimeInputs ? [ ],
    }:
    refusing { inherit name text runtimeInputs; };
  writeText = name: text: refusing { inherit name text; };

  formats.yaml = _: {
    type = lib.types.anything // {
      description = "YAML 1.1 value";
    };
    generate =
      name: value:
      refusing {
        inherit name;
        value = builtins.toJSON value;
      };
  };

  # A test of virtual machines: every machine is evaluated as a system, and the script as text.
  testers.runNixOSTest =
    {
      name,
      nodes,
      testScript,
    }:
    refusing {
      name = "vm-test-run-${name}";
      inherit testScript;
      machines = lib.mapAttrsToList (_: node: (nixos [ node ]).config.system.build.toplevel) nodes;
    };
}

# The suite as packages: each service by itself, so that a host takes what it runs and the queue's closure holds no libtorch.
# Every package carries its units from units/, with the paths of Debian in them replaced by its own.
{ lib, pkgs }:
let
  version = (lib.importTOML ../../Cargo.toml).workspace.package.version;
  # An edit of a README or of a test rebuilds nothing.
  src = lib.fileset.toSource {
    root = ../..;
    fileset = lib.fileset.unions [
      ../../.cargo
      ../../Cargo.lock
      ../../Cargo.toml
      ../../src
      ../../units
    ];
  };

  libtorch-cpu = import ./libtorch.nix {
    inherit lib pkgs;
    cuda = false;
  };
  libtorch-cuda = import ./libtorch.nix {
    inherit lib pkgs;
    cuda = true;
  };

  # `crate` is the folder's name in src/, `program` what it builds; `units` are copied and rewritten.
  rust =
    {
      pname,
      crate,
      program,
      description,
      units,
      libtorch ? null,
    }:
    pkgs.rustPlatform.buildRustPackage {
      inherit pname version src;
      cargoLock.lockFile = ../../Cargo.lock;
      cargoBuildFlags = [
        "--package"
        crate
      ];
      # `nix flake check` runs them, over the whole workspace.
      doCheck = false;
      buildInputs = lib.optional (libtorch != null) libtorch;
      # What a training run writes down of its code: the name of these very sources, which an edit of a README leaves as it is.
      env = {
        AZAION_REVISION = builtins.baseNameOf "${src}";
      }
      // lib.optionalAttrs (libtorch != null) { LIBTORCH = "${libtorch}"; };
      postInstall = ''
        for unit in ${lib.escapeShellArgs units}; do
          install -Dm444 "units/$unit" "$out/lib/''${unit/#azaion/systemd/system/azaion}"
        done
        for unit in $(grep -lr /usr/bin/azaion $out/lib); do
          substituteInPlace "$unit" --replace-fail /usr/bin/${program} $out/bin/${program}
        done
      '';
      meta = {
        inherit description;
        license = [
          lib.licenses.mit
          lib.licenses.asl20
        ];
        mainProgram = program;
        platforms = [ "x86_64-linux" ];
      };
    };

  train =
    suffix: libtorch:
    rust {
      pname = "azaion-train${suffix}";
      crate = "trainer";
      program = "azaion-train";
      description = "Trains, validates and runs the detector";
      units = [ "azaion-train.service" ];
      inherit libtorch;
    };

  azaion = rust {
    pname = "azaion";
    crate = "cli";
    program = "azaion";
    description = "From annotations to a model in service: the operator's tool";
    units = [
      "azaion.target"
      "azaion-alert@.service"
      "azaion-config.service"
      "azaion-train-new.service"
      "azaion-train-new.timer"
      "azaion-train-resume.service"
      "sysusers.d/azaion.conf"
      "tmpfiles.d/azaion.conf"
    ];
  };

  azaion-queue = rust {
    pname = "azaion-queue";
    crate = "queue";
    program = "azaion-queue";
    description = "Takes annotations from a RabbitMQ Stream into the labelled tree";
    units = [ "azaion-queue.service" ];
  };

  azaion-backup = rust {
    pname = "azaion-backup";
    crate = "backup";
    program = "azaion-backup";
    description = "Backs the tree up in restic's format, and brings it back";
    units = [
      "azaion-backup.service"
      "azaion-backup.timer"
      "azaion-backup-drill.service"
      "azaion-backup-drill.timer"
    ];
  };

  azaion-health = rust {
    pname = "azaion-health";
    crate = "health";
    program = "azaion-health";
    description = "Looks after everything: checks, alerts, metrics, status";
    units = [
      "azaion-health.service"
      "azaion-health.timer"
      "azaion-health.path"
      "azaion-health-full.service"
      "azaion-health-full.timer"
    ];
  };

  azaion-train = train "" libtorch-cpu;
  azaion-train-cuda = train "-cuda" libtorch-cuda;

  # Programs in one folder. `azaion` itself is copied: it looks for the others beside the file that it is.
  together =
    paths:
    pkgs.symlinkJoin {
      name = "azaion-suite-${version}";
      inherit paths;
      postBuild = ''
        cp --remove-destination "$(readlink -f $out/bin/azaion)" $out/bin/azaion
      '';
      meta.mainProgram = "azaion";
    };
in
{
  inherit
    azaion
    azaion-queue
    azaion-backup
    azaion-health
    azaion-train
    azaion-train-cuda
    libtorch-cpu
    libtorch-cuda
    together
    src
    ;
  azaion-suite = together [
    azaion
    azaion-queue
    azaion-backup
    azaion-health
    azaion-train
  ];
}

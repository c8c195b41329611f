# The options of `services.azaion`. What they do is in default.nix; docs/OPTIONS.md is made from the texts here.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.azaion;
  packages = import ./packages { inherit lib pkgs; };
  package =
    name: what:
    mkOption {
      type = types.package;
      default = packages.${name};
      defaultText = lib.literalExpression "azaion.packages.\${system}.${name}";
      description = what;
    };
  limit =
    example: what:
    mkOption {
      type = types.nullOr types.str;
      default = null;
      inherit example;
      description = "${what} `null` keeps the unit's own limit.";
    };
  # A secret that systemd hands to the services concerned alone.
  secret =
    credential: what: more:
    mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/run/agenix/${credential}";
      description = ''
        A file outside the store with ${what}. systemd hands it to those alone that need it (LoadCredential=), so it may be root's with
        mode 0400. With `null` the file azaion.${credential} in /etc/credstore or /run/credstore is taken, where there is
        one. ${more}
      '';
    };
  keys = import ./settings.nix { inherit lib; };
  value = (pkgs.formats.yaml { }).type;
  # Sections are submodules, so that a key nobody knows stays visible to the assertion that names it.
  section =
    name: options:
    mkOption {
      type = types.submodule {
        freeformType = value;
        inherit options;
      };
      default = { };
      description = about.${name};
    };
  about = {
    api = "The REST API that models are published to.";
    rabbitmq = "The broker that the queue reads.";
    training = "A training run.";
    export = "The export of a trained model.";
    backup = "Backups of the tree.";
    alerts = "How alerts are told, beside the status.";
  };
in
{
  options.services.azaion = {
    enable = lib.mkEnableOption "the azaion suite: user, tree, configuration, its check and the alerts";

    package = package "azaion" "The operator's tool and what every host has: check, alerts, target, user and tree. It holds no libtorch.";

    user = mkOption {
      type = types.strMatching "[a-z_][a-z0-9_-]*";
      default = "azaion";
      description = "The user that the services run as and that owns the tree. One of another name must exist.";
    };

    group = mkOption {
      type = types.strMatching "[a-z_][a-z0-9_-]*";
      default = "azaion";
      description = "The group that may read the tree.";
    };

    settings = mkOption {
      type = types.submodule {
        freeformType = value;
        options = lib.mapAttrs (name: entry: if lib.isOption entry then entry else section name entry) keys;
      };
      default = { };
      example = {
        rabbitmq.host = "192.0.2.10";
        training.epochs = 60;
      };
      description = ''
        config.yaml, key by key. It ends in the world-readable store, so it holds no secret. Checked when the system is
        evaluated (names, types) and again when it is built, by the programs' own `azaion config check`.
      '';
    };

    secrets.rabbitmqPassword = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/run/agenix/rabbitmq-password";
      description = ''
        A file outside the store with the broker's password, as agenix or sops-nix make one. systemd hands it to the queue
        alone (LoadCredential=), so it may be root's with mode 0400. After a rotation: `systemctl try-restart azaion-queue`.
        With `null` the file azaion.rabbitmq-password in /etc/credstore or /run/credstore is taken, where there is one.
      '';
    };

    secrets.backupPassword =
      secret "backup-password" "the password that encrypts backups"
        "Keep a copy elsewhere: without it nothing can be restored.";
    secrets.backupS3AccessKey =
      secret "backup-s3-access-key" "the access key of the S3 server that backups go to"
        "";
    secrets.backupS3SecretKey = secret "backup-s3-secret-key" "the secret key that belongs to it" "";
    secrets.backupRcloneConfig =
      secret "backup-rclone-config" "rclone's configuration, with the remote that backups go to"
        "";

    broker = {
      enable = lib.mkEnableOption "a RabbitMQ on this machine with the stream plugin, for the queue here";

      addresses = mkOption {
        type = types.listOf types.nonEmptyStr;
        default = [ ];
        example = [ "192.0.2.10/32" ];
        description = ''
          Addresses or networks that the queue may talk to beside this machine (IPAddressAllow=). An address in
          `settings.rabbitmq.host` is allowed by itself. Needed where that is a name, for a unit cannot look names up; add
          the resolver's address where names are not looked up on this machine.
        '';
      };

      openFirewall = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether others may reach the stream port of the broker on this machine, as annotators on other machines must. The
          broker then listens on every interface. Nothing else of the suite has a port.
        '';
      };
    };

    queue = {
      enable = lib.mkEnableOption "azaion-queue, which takes annotations from the broker into the tree";
      package = package "azaion-queue" "The queue alone; its closure holds no libtorch.";
      memoryMax = limit "4G" "Most memory that the queue may hold (MemoryMax=).";
      cpuQuota = limit "100%" "Most processor time (CPUQuota=).";
    };

    train = {
      enable = lib.mkEnableOption "azaion-train, to be started by hand, by `train.startAt` or by `train.new`; a run that a boot cuts off goes on by itself, a switch never reaches one";
      package = mkOption {
        type = types.package;
        default = if cfg.train.gpu.enable then packages.azaion-train-cuda else packages.azaion-train;
        defaultText = lib.literalExpression "azaion.packages.\${system}.azaion-train, with train.gpu.enable azaion-train-cuda";
        description = "The trainer, with libtorch for the processor or for CUDA.";
      };
      gpu.enable = lib.mkEnableOption ''
        training on an NVIDIA GPU. The driver is the host's own affair (hardware.nvidia, hardware.graphics). Without this
        the unit sees no device at all'';
      startAt = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "Sun 02:00";
        description = "When runs start by themselves (OnCalendar=); a time that was missed is made up for. `null`: by hand only.";
      };
      new.enable = lib.mkEnableOption ''
        runs that begin by themselves when enough annotations are new: looked for every half hour, fine-tuned from the model in
        service. `settings.training.new_annotations` says how many are enough, `settings.training.hours` when'';
      memoryMax = limit "24G" "Most memory that a run may hold (MemoryMax=).";
      cpuQuota = limit "1600%" "Most processor time (CPUQuota=).";
    };

    secrets.smtpPassword = secret "smtp-password" "the password of the account that sends alerts" "";
    secrets.webhookUrl = secret "webhook-url" "the address of the webhook that alerts are posted to" "";
    secrets.pingUrl =
      secret "ping-url"
        "an address that is called after each check, so that somebody else notices when it is not"
        "";

    health = {
      enable = mkOption {
        type = types.bool;
        default = true;
        description = "Whether azaion-health looks after this machine: checks every five and thirty minutes, alerts, metrics, the status page.";
      };
      package = package "azaion-health" "Health alone; its closure holds no libtorch.";
    };

    backup = {
      enable = lib.mkEnableOption "azaion-backup: a backup every night and a restore for practice every week, to `settings.backup.repository`";
      package = package "azaion-backup" "Backups alone; its closure holds no libtorch.";
      addresses = mkOption {
        type = types.listOf types.nonEmptyStr;
        default = [ ];
        example = [ "192.0.2.20/32" ];
        description = ''
          Addresses or networks that backups may talk to beside this machine (IPAddressAllow=): the server's, and the
          resolver's where names are not looked up on this machine. Not needed for a folder.
        '';
      };
      memoryMax = limit "4G" "Most memory that a backup may hold (MemoryMax=).";
      cpuQuota = limit "100%" "Most processor time (CPUQuota=).";
    };

    journalRetention = mkOption {
      type = types.nullOr types.str;
      default = "30day";
      description = "How long the journal of this host is kept (MaxRetentionSec=). `null` leaves that to the host.";
    };
  };
}

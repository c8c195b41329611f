# The suite on NixOS. The units are those of units/, taken with `systemd.packages`; set here is what differs from machine
# to machine: tree, user, broker, secrets, limits. A mistake is told as early as it can be: a wrong name or type and a
# secret in the store when the system is evaluated, everything else when config.yaml is built.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.azaion;
  inherit (cfg) settings;
  root = settings.root_dir;
  inherit (settings.rabbitmq) host;

  known = import ./settings.nix { inherit lib; };

  # Keys that no program knows, with their section.
  unknownIn =
    prefix: keys: values:
    lib.concatMap (
      name:
      let
        entry = keys.${name} or null;
      in
      if entry == null then
        [ "${prefix}${name}" ]
      else if lib.isOption entry then
        [ ]
      else
        unknownIn "${prefix}${name}." entry values.${name}
    ) (lib.attrNames values);
  unknown = unknownIn "" known settings;
  inlineSecrets = lib.filter (key: lib.elem key unknown) [
    "api.password"
    "rabbitmq.password"
  ];

  # A path written in Nix (./secret) becomes a store path as soon as it is used, and a flake's own files are there already.
  isInStore =
    file:
    builtins.isPath file || lib.hasPrefix builtins.storeDir file || lib.hasPrefix "/nix/store" file;
  files = lib.filterAttrs (_: file: file != null) {
    "secrets.rabbitmqPassword" = cfg.secrets.rabbitmqPassword;
    "settings.rabbitmq.password_file" = settings.rabbitmq.password_file;
    "settings.api.password_file" = settings.api.password_file;
    "secrets.backupPassword" = cfg.secrets.backupPassword;
    "secrets.backupS3AccessKey" = cfg.secrets.backupS3AccessKey;
    "secrets.backupS3SecretKey" = cfg.secrets.backupS3SecretKey;
    "secrets.backupRcloneConfig" = cfg.secrets.backupRcloneConfig;
    "secrets.smtpPassword" = cfg.secrets.smtpPassword;
    "secrets.webhookUrl" = cfg.secrets.webhookUrl;
    "secrets.pingUrl" = cfg.secrets.pingUrl;
    "settings.alerts.smtp_password_file" = settings.alerts.smtp_password_file;
    "settings.alerts.webhook_file" = settings.alerts.webhook_file;
    "settings.alerts.ping_file" = settings.alerts.ping_file;
    "settings.backup.password_file" = settings.backup.password_file;
    "settings.backup.s3_access_key_file" = settings.backup.s3_access_key_file;
    "settings.backup.s3_secret_key_file" = settings.backup.s3_secret_key_file;
    "settings.backup.rclone_config_file" = settings.backup.rclone_config_file;
  };

  # Where NixOS puts the GPU's libraries.
  driver = lib.optionalAttrs cfg.train.gpu.enable { LD_LIBRARY_PATH = "/run/opengl-driver/lib"; };

  # Those that this host names; for the others the units' own places are looked at.
  credentials =
    files:
    lib.mapAttrsToList (name: file: "${name}:${file}") (lib.filterAttrs (_: file: file != null) files);

  inherit (settings.backup) repository;
  isFolder = repository != null && lib.hasPrefix "/" repository;
  # Both of its services: what they may reach, and what opens it.
  backups =
    tree
    // limits cfg.backup
    // writes ([ "${root}/status" ] ++ lib.optional isFolder repository)
    // lib.optionalAttrs (cfg.backup.addresses != [ ]) { IPAddressAllow = cfg.backup.addresses; }
    // {
      LoadCredential = credentials {
        backup-password = cfg.secrets.backupPassword;
        backup-s3-access-key = cfg.secrets.backupS3AccessKey;
        backup-s3-secret-key = cfg.secrets.backupS3SecretKey;
        backup-rclone-config = cfg.secrets.backupRcloneConfig;
      };
    };
  # Both of its services: what they look at, and what tells of it.
  looks =
    tree
    // writes [ "${root}/status" ]
    // {
      LoadCredential = credentials {
        rabbitmq-password = cfg.secrets.rabbitmqPassword;
        smtp-password = cfg.secrets.smtpPassword;
        webhook-url = cfg.secrets.webhookUrl;
        ping-url = cfg.secrets.pingUrl;
      };
    }
    // lib.optionalAttrs (!cfg.train.gpu.enable) {
      PrivateDevices = true;
      DeviceAllow = "";
    };

  isLoopback =
    lib.elem host [
      "localhost"
      "::1"
    ]
    || lib.hasPrefix "127." host;
  isAddress = builtins.match "[0-9.]+|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+" host != null;
  allowed = lib.optional (isAddress && !isLoopback) host ++ cfg.broker.addresses;

  written = (pkgs.formats.yaml { }).generate "config.yaml" (
    lib.mapAttrs (
      _: entry: if lib.isAttrs entry then lib.filterAttrs (_: value: value != null) entry else entry
    ) settings
  );
  checked = pkgs.runCommand "azaion-config.yaml" { } ''
    install -m 0640 ${written} config.yaml
    ${cfg.package}/bin/azaion config check --config config.yaml
    cp config.yaml $out
  '';

  # Drop-ins add to lists, so one that is to hold other values begins with an empty one.
  tree = {
    User = cfg.user;
    Group = cfg.group;
  };
  writes = folders: {
    ReadWritePaths = [ "" ] ++ folders;
  };
  limits =
    service:
    lib.optionalAttrs (service.memoryMax != null) {
      MemoryHigh = "";
      MemoryMax = service.memoryMax;
    }
    // lib.optionalAttrs (service.cpuQuota != null) { CPUQuota = service.cpuQuota; };
  mounts.RequiresMountsFor = root;

  # The folders are those of units/tmpfiles.d, by this host's names and with its owner. Of two names that fit, the one that
  # stands first is replaced.
  rules =
    let
      names = {
        "/azaion/data-corrupted" = "${root}/data-corrupted";
        "/azaion/data-seed" = "${root}/${settings.data_seed_dir}";
        "/azaion/data_deleted" = "${root}/${settings.data_deleted_dir}";
        "/azaion/data" = "${root}/${settings.data_dir}";
        "/azaion" = root;
        " azaion azaion " = " ${cfg.user} ${cfg.group} ";
      };
      longestFirst = lib.reverseList (lib.attrNames names);
      named = lib.replaceStrings longestFirst (map (name: names.${name}) longestFirst);
      lines = lib.splitString "\n" (builtins.readFile ../units/tmpfiles.d/azaion.conf);
    in
    map named (lib.filter (lib.hasPrefix "d /azaion") lines);

  # `azaion` finds the other programs beside itself.
  tools = (import ./packages { inherit lib pkgs; }).together (
    [ cfg.package ]
    ++ lib.optional cfg.queue.enable cfg.queue.package
    ++ lib.optional cfg.train.enable cfg.train.package
    ++ lib.optional cfg.backup.enable cfg.backup.package
    ++ lib.optional cfg.health.enable cfg.health.package
  );
in
{
  imports = [ ./options.nix ];

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        assertions = [
          {
            assertion = inlineSecrets == [ ];
            message = ''
              services.azaion.settings holds a password (${lib.concatStringsSep ", " inlineSecrets}), and settings end in the Nix store, which
              every user can read and which keeps it for ever. Write it to a file outside the store, let
              services.azaion.secrets.rabbitmqPassword name that file, and change the password: it has been read here already.'';
          }
          {
            assertion = lib.subtractLists inlineSecrets unknown == [ ];
            message = ''
              services.azaion.settings has keys that azaion does not know: ${lib.concatStringsSep ", " (lib.subtractLists inlineSecrets unknown)}.
              docs/OPTIONS.md lists those that it knows.'';
          }
          {
            assertion =
              cfg.broker.enable || !cfg.queue.enable || isLoopback || isAddress || cfg.broker.addresses != [ ];
            message = ''
              services.azaion.settings.rabbitmq.host is a name (${host}), and systemd lets the queue talk to addresses only. List
              the broker's in services.azaion.broker.addresses, and the resolver's where names are not looked up on this machine.'';
          }
          {
            assertion = !cfg.backup.enable || repository != null;
            message = "services.azaion.backup.enable needs to know where backups go: set services.azaion.settings.backup.repository.";
          }
          {
            assertion = !cfg.broker.openFirewall || cfg.broker.enable;
            message = "services.azaion.broker.openFirewall opens the port of a broker on this machine: set services.azaion.broker.enable too.";
          }
        ]
        ++ lib.mapAttrsToList (name: file: {
          assertion = !(isInStore file);
          message = ''
            services.azaion.${name} lies in the Nix store, which every user can read and which keeps it for ever. Name a file outside
            it, as a string ("/run/agenix/..." or "/etc/azaion/..."), and change the secret: it has been copied already.'';
        }) files;

        environment.etc."azaion/config.yaml".source = checked;
        environment.systemPackages = [ tools ];

        systemd.packages = [ cfg.package ];
        systemd.tmpfiles.rules = rules;
        systemd.targets.azaion.wantedBy = [ "multi-user.target" ];
        systemd.services.azaion-config.serviceConfig = tree;
        systemd.services."azaion-alert@" = {
          unitConfig = mounts;
          serviceConfig = tree // writes [ "${root}/status" ];
        };

        users.users = lib.optionalAttrs (cfg.user == "azaion") {
          azaion = {
            isSystemUser = true;
            inherit (cfg) group;
            home = root;
          };
        };
        users.groups = lib.optionalAttrs (cfg.group == "azaion") { azaion = { }; };
      }

      (lib.mkIf (cfg.journalRetention != null) {
        services.journald.extraConfig = "MaxRetentionSec=${cfg.journalRetention}";
      })

      (lib.mkIf cfg.queue.enable {
        systemd.packages = [ cfg.queue.package ];
        systemd.services.azaion-queue = {
          wantedBy = [ "azaion.target" ];
          unitConfig = mounts;
          # One restart instead of a stop before and a start behind the switch.
          stopIfChanged = false;
          restartTriggers = [ checked ];
          serviceConfig =
            tree
            // writes [ root ]
            // limits cfg.queue
            // {
              ReadOnlyPaths = [
                ""
                "-${root}/datasets"
                "-${root}/models"
              ];
              # From 5 seconds to 5 minutes.
              RestartSteps = 8;
              RestartMaxDelaySec = "5min";
            }
            // lib.optionalAttrs (allowed != [ ]) { IPAddressAllow = allowed; }
            // lib.optionalAttrs (cfg.secrets.rabbitmqPassword != null) {
              LoadCredential = [ "rabbitmq-password:${cfg.secrets.rabbitmqPassword}" ];
            };
        };
      })

      (lib.mkIf cfg.train.enable {
        systemd.packages = [ cfg.train.package ];
        systemd.services.azaion-train = {
          unitConfig = mounts;
          # A run lasts days, and what a switch brings applies to the next one.
          restartIfChanged = false;
          stopIfChanged = false;
          environment = driver;
          serviceConfig =
            tree
            // writes [ root ]
            // limits cfg.train
            // lib.optionalAttrs (!cfg.train.gpu.enable) {
              PrivateDevices = true;
              DeviceAllow = "";
            };
        };
      })

      (lib.mkIf cfg.train.enable {
        assertions = [
          {
            assertion = !cfg.train.new.enable || settings.training.new_annotations > 0;
            message = ''
              services.azaion.train.new.enable begins runs when enough annotations are new, and services.azaion.settings.training.new_annotations
              says never (0): set it to how many are enough.'';
          }
        ];
        systemd.services.azaion-train-resume = {
          wantedBy = [ "azaion.target" ];
          unitConfig = mounts;
          serviceConfig = tree;
        };
        systemd.services.azaion-train-new = {
          unitConfig = mounts;
          serviceConfig = tree // writes [ "${root}/models" ];
        };
        systemd.timers.azaion-train-new.wantedBy = lib.optional cfg.train.new.enable "timers.target";
      })

      (lib.mkIf (cfg.train.enable && cfg.train.startAt != null) {
        systemd.timers.azaion-train = {
          description = "azaion: start of a training run";
          wantedBy = [ "timers.target" ];
          timerConfig = {
            OnCalendar = cfg.train.startAt;
            Persistent = true;
          };
        };
      })

      (lib.mkIf cfg.health.enable {
        systemd.packages = [ cfg.health.package ];
        systemd.timers.azaion-health.wantedBy = [ "azaion.target" ];
        systemd.timers.azaion-health-full.wantedBy = [ "azaion.target" ];
        systemd.paths.azaion-health = {
          wantedBy = [ "azaion.target" ];
          pathConfig.PathChanged = [
            ""
            "${root}/status/alerts"
          ];
        };
        systemd.services.azaion-health = {
          unitConfig = mounts;
          environment = driver;
          serviceConfig = looks;
        };
        systemd.services.azaion-health-full = {
          unitConfig = mounts;
          environment = driver;
          serviceConfig = looks;
        };
      })

      (lib.mkIf cfg.backup.enable {
        systemd.packages = [ cfg.backup.package ];
        # The folder of its own that backups go to; what else leads there is the host's.
        systemd.tmpfiles.rules = lib.optional isFolder "d ${repository} 0700 ${cfg.user} ${cfg.group} -";
        systemd.timers.azaion-backup.wantedBy = [ "timers.target" ];
        systemd.timers.azaion-backup-drill.wantedBy = [ "timers.target" ];
        systemd.services.azaion-backup = {
          # A backup that is taken ends by itself; what a switch brings applies to the next one.
          restartIfChanged = false;
          stopIfChanged = false;
          path = lib.optional (lib.hasPrefix "rclone:" (toString repository)) pkgs.rclone;
          unitConfig = mounts;
          serviceConfig = backups;
        };
        systemd.services.azaion-backup-drill = {
          restartIfChanged = false;
          stopIfChanged = false;
          path =
            lib.optional cfg.train.enable cfg.train.package
            ++ lib.optional (lib.hasPrefix "rclone:" (toString repository)) pkgs.rclone;
          unitConfig = mounts;
          serviceConfig = backups;
        };
      })

      (lib.mkIf cfg.broker.enable {
        services.rabbitmq = {
          enable = true;
          plugins = [ "rabbitmq_stream" ];
          configItems = {
            "stream.listeners.tcp.1" = "${
              if cfg.broker.openFirewall then "0.0.0.0" else "127.0.0.1"
            }:${toString settings.rabbitmq.port}";
            # The broker tells its clients where it is; the machine's own name may lead nowhere.
            "stream.advertised_host" = lib.mkDefault host;
            "stream.advertised_port" = toString settings.rabbitmq.port;
          };
        };
        networking.firewall.allowedTCPPorts = lib.optional cfg.broker.openFirewall settings.rabbitmq.port;
      })
    ]
  );
}

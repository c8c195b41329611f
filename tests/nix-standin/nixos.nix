# NixOS as far as this repository sets it: modules in, a system out, whose evaluation fails where an assertion does. Options that
# are not here do not exist; extend the list with the type that NixOS gives them.
{ lib, pkgs }:
let
  inherit (lib) types;
  option =
    type: default:
    lib.mkOption {
      inherit type default;
      description = "As in NixOS.";
    };
  any = option (types.attrsOf types.anything) { };
  strings = option (types.listOf types.str) [ ];
  packages = option (types.listOf types.package) [ ];
  atom = types.nullOr (
    types.oneOf [
      types.bool
      types.int
      types.str
      types.path
      types.package
    ]
  );
  # A directive: one value, or several lines.
  directives = option (types.attrsOf (
    types.anything
    // {
      description = "systemd directive";
      check = value: atom.check value || (builtins.isList value && builtins.all atom.check value);
    }
  )) { };
  named = options: option (types.attrsOf (types.submodule { inherit options; })) { };

  unit = {
    description = option types.str "";
    unitConfig = directives;
    wantedBy = strings;
    wants = strings;
    after = strings;
    before = strings;
    requires = strings;
    restartTriggers = option (types.listOf types.package) [ ];
  };

  options = {
    assertions = option (types.listOf types.anything) [ ];
    warnings = strings;

    boot.loader = {
      grub.device = option types.str "";
      systemd-boot.enable = option types.bool false;
    };
    fileSystems = named {
      device = option types.nonEmptyStr null;
      fsType = option types.nonEmptyStr "auto";
    };
    environment = {
      etc = named {
        source = option types.path null;
        text = option (types.nullOr types.lines) null;
      };
      systemPackages = packages;
    };
    hardware = {
      graphics.enable = option types.bool false;
      nvidia.open = option (types.nullOr types.bool) null;
    };
    networking = {
      hostName = option types.str "nixos";
      firewall.allowedTCPPorts = option (types.listOf types.port) [ ];
    };
    nixpkgs.config = any;
    services = {
      journald.extraConfig = option types.lines "";
      rabbitmq = {
        enable = option types.bool false;
        configItems = option (types.attrsOf types.str) { };
        plugins = strings;
      };
      xserver.videoDrivers = strings;
    };
    specialisation = named { configuration = any; };
    system.stateVersion = option types.str "";
    systemd = {
      packages = packages;
      services = named (
        unit
        // {
          serviceConfig = directives;
          environment = option (types.attrsOf atom) { };
          path = packages;
          restartIfChanged = option types.bool true;
          stopIfChanged = option types.bool true;
        }
      );
      targets = named unit;
      paths = named (unit // { pathConfig = directives; });
      timers = named (unit // { timerConfig = directives; });
      tmpfiles.rules = strings;
    };
    users = {
      users = named {
        isSystemUser = option types.bool false;
        group = option types.str "";
        home = option types.path "/var/empty";
      };
      groups = named { gid = option (types.nullOr types.int) null; };
    };
    virtualisation = {
      cores = option types.ints.positive 1;
      memorySize = option types.ints.positive 1024;
    };
  };
in
modules:
let
  evaluated = lib.evalModules {
    modules = [ { inherit options; } ] ++ modules;
    specialArgs = { inherit pkgs; };
  };
  inherit (evaluated) config;
  failed = lib.filter (assertion: !assertion.assertion) config.assertions;
  # Everything that was set, so that nothing is left unevaluated; packages by their names.
  shown =
    value:
    if builtins.isAttrs value && (value.type or null) == "derivation" then
      builtins.seq value.drvPath value.name
    else if builtins.isAttrs value then
      lib.mapAttrs (_: shown) value
    else if builtins.isList value then
      map shown value
    else if builtins.isPath value then
      toString value
    else
      value;
  system = pkgs.writeText "system" (builtins.toJSON (shown config));
in
{
  options = evaluated.options;
  config = config // {
    system = config.system // {
      build.toplevel =
        if failed != [ ] then
          throw "\nFailed assertions:\n${
            lib.concatMapStringsSep "\n" (assertion: "- ${assertion.message}") failed
          }"
        else
          builtins.seq system.drvPath system;
    };
  };
}

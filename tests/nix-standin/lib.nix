# The functions of nixpkgs' library that this repository uses.
let
  modules = import ./modules.nix;
  lib = builtins // {
    inherit (modules)
      evalModules
      mkDefault
      mkForce
      mkIf
      mkMerge
      mkOption
      types
      ;

    # Attribute sets and lists.
    filterAttrs =
      keep: set:
      builtins.listToAttrs (
        builtins.concatMap (
          name: lib.optional (keep name set.${name}) (lib.nameValuePair name set.${name})
        ) (builtins.attrNames set)
      );
    mapAttrsToList = f: set: map (name: f name set.${name}) (builtins.attrNames set);
    mapAttrs' = f: set: builtins.listToAttrs (lib.mapAttrsToList f set);
    nameValuePair = name: value: { inherit name value; };
    optional = condition: value: if condition then [ value ] else [ ];
    optionals = condition: values: if condition then values else [ ];
    optionalAttrs = condition: set: if condition then set else { };
    optionalString = condition: text: if condition then text else "";
    reverseList =
      list:
      let
        last = builtins.length list - 1;
      in
      builtins.genList (i: builtins.elemAt list (last - i)) (last + 1);
    subtractLists = gone: builtins.filter (value: !(builtins.elem value gone));

    # Text.
    concatMapStringsSep =
      separator: f: list:
      builtins.concatStringsSep separator (map f list);
    escapeShellArg =
      text:
      if builtins.match "[A-Za-z0-9%+,./:=@_-]+" text != null then
        text
      else
        "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] text}'";
    escapeShellArgs = lib.concatMapStringsSep " " lib.escapeShellArg;
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    hasSuffix =
      suffix: text:
      let
        length = builtins.stringLength text;
        tail = builtins.stringLength suffix;
      in
      length >= tail && builtins.substring (length - tail) tail text == suffix;
    removeSuffix =
      suffix: text:
      if lib.hasSuffix suffix text then
        builtins.substring 0 (builtins.stringLength text - builtins.stringLength suffix) text
      else
        text;
    splitString = separator: text: builtins.filter builtins.isString (builtins.split separator text);
    importTOML = file: builtins.fromTOML (builtins.readFile file);

    # Options.
    isOption = value: builtins.isAttrs value && (value._type or null) == "option";
    literalExpression = text: {
      _type = "literalExpression";
      inherit text;
    };
    mkEnableOption =
      what:
      lib.mkOption {
        type = lib.types.bool;
        default = false;
        example = true;
        description = "Whether to enable ${what}.";
      };

    # What a source consists of: the parts must be there.
    fileset = {
      unions = parts: parts;
      toSource =
        { root, fileset }:
        assert builtins.all (
          part: if builtins.pathExists part then true else throw "${toString part} does not exist"
        ) fileset;
        root;
    };

    licenses = {
      asl20.spdxId = "Apache-2.0";
      bsd3.spdxId = "BSD-3-Clause";
      mit.spdxId = "MIT";
      unfree.free = false;
    };
    sourceTypes.binaryNativeCode.isSource = false;
  };
in
lib

# The module system: definitions with priorities and conditions, types that check and merge, options that must be declared.
let
  inherit (builtins)
    all
    any
    attrNames
    concatLists
    concatMap
    concatStringsSep
    filter
    foldl'
    head
    isAttrs
    isFunction
    isList
    isPath
    isString
    listToAttrs
    mapAttrs
    match
    substring
    ;

  showPath = concatStringsSep ".";
  keysOf = sets: attrNames (foldl' (all: set: all // set) { } sets);
  isOption = value: isAttrs value && (value._type or null) == "option";

  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  ordinary = 100;
  ofADefault = 1500;

  # A definition as the values that it comes to, each with its priority.
  values =
    priority: definition:
    let
      kind = if isAttrs definition then definition._type or null else null;
    in
    if kind == "if" then
      if definition.condition then values priority definition.content else [ ]
    else if kind == "merge" then
      concatMap (values priority) definition.contents
    else if kind == "override" then
      values definition.priority definition.content
    else
      [ { inherit priority definition; } ];

  # Conditions and priorities pushed down one level: a set's names are known before its values are, and before its conditions,
  # which may depend on other options.
  push =
    definition:
    let
      kind = definition._type or null;
    in
    if kind == "if" then
      map (mapAttrs (_: mkIf definition.condition)) (push definition.content)
    else if kind == "merge" then
      concatMap push definition.contents
    else if kind == "override" then
      map (mapAttrs (_: mkOverride definition.priority)) (push definition.content)
    else
      [ definition ];

  merged =
    type: path: definitions:
    let
      found = concatMap (values ordinary) definitions;
      best = foldl' (least: value: if value.priority < least then value.priority else least) 9999 found;
      chosen = map (value: value.definition) (filter (value: value.priority == best) found);
      wrong = filter (value: !(type.check value)) chosen;
    in
    if wrong != [ ] then
      throw "A definition for option `${showPath path}' is not of type `${type.description}'."
    else
      type.merge path chosen;

  same =
    path: found:
    if all (value: value == head found) found then
      head found
    else
      throw "The option `${showPath path}' has conflicting definitions.";

  plain = description: check: {
    inherit description check;
    merge = same;
    getSubOptions = _: { };
  };

  types = rec {
    bool = plain "boolean" builtins.isBool;
    int = plain "signed integer" builtins.isInt;
    str = plain "string" isString;
    nonEmptyStr = plain "non-empty string" (value: isString value && value != "");
    strMatching =
      pattern:
      plain "string matching the pattern ${pattern}" (
        value: isString value && match pattern value != null
      );
    lines = str // {
      description = "strings concatenated with \"\\n\"";
      merge = _: concatStringsSep "\n";
    };
    # A derivation counts as the path that it will have.
    path = plain "absolute path" (
      value: isPath value || value ? outPath || (isString value && substring 0 1 value == "/")
    );
    package = plain "package" (value: isAttrs value && (value.type or null) == "derivation");
    port = ints.between 0 65535 // {
      description = "16 bit unsigned integer; between 0 and 65535 (both inclusive)";
    };
    ints = {
      between =
        low: high:
        plain "integer between ${toString low} and ${toString high} (both inclusive)" (
          value: builtins.isInt value && value >= low && value <= high
        );
      positive = plain "positive integer, meaning >0" (value: builtins.isInt value && value > 0);
      unsigned = plain "unsigned integer, meaning >=0" (value: builtins.isInt value && value >= 0);
    };

    # Whatever it is: sets are merged by name, lists are joined.
    anything = plain "anything" (_: true) // {
      merge =
        path: found:
        if all (value: isAttrs value && !(value ? type)) found then
          (attrsOf anything).merge path found
        else if all isList found then
          concatLists found
        else
          same path found;
    };

    nullOr =
      type:
      type
      // {
        description = "null or ${type.description}";
        check = value: value == null || type.check value;
        merge = path: found: if all (value: value == null) found then null else type.merge path found;
      };
    oneOf =
      alternatives:
      plain (concatStringsSep " or " (map (type: type.description) alternatives)) (
        value: any (type: type.check value) alternatives
      );
    listOf = type: {
      description = "list of ${type.description}";
      check = isList;
      merge = path: found: map (value: merged type path [ value ]) (concatLists found);
      getSubOptions = _: { };
    };
    attrsOf = type: {
      description = "attribute set of ${type.description}";
      check = isAttrs;
      merge =
        path: found:
        let
          sets = concatMap push found;
          named = name: map (set: set.${name}) (filter (set: set ? ${name}) sets);
          present = filter (name: concatMap (values ordinary) (named name) != [ ]) (keysOf sets);
        in
        listToAttrs (
          map (name: {
            inherit name;
            value = merged type (path ++ [ name ]) (named name);
          }) present
        );
      getSubOptions = _: { };
    };
    submodule = module: {
      description =
        if module ? freeformType then
          "open submodule of (${module.freeformType.description})"
        else
          "submodule";
      check = value: isAttrs value || isFunction value;
      merge =
        path: found:
        (evaluate path {
          modules = [ module ] ++ map (config: { inherit config; }) found;
        }).config;
      getSubOptions = _: (evaluate [ ] { modules = [ module ]; }).options;
    };
  };

  evaluate =
    prefix:
    {
      modules,
      specialArgs ? { },
    }:
    let
      arguments = specialArgs // {
        inherit config options;
        lib = import ./lib.nix;
      };
      load =
        module:
        let
          named = if isPath module || isString module then import module else module;
          set = if isFunction named then named arguments else named;
          structured = set ? options || set ? config;
        in
        concatMap load (set.imports or [ ])
        ++ [
          {
            options = set.options or { };
            freeformType = set.freeformType or null;
            config =
              if structured then
                set.config or { }
              else
                removeAttrs set [
                  "imports"
                  "freeformType"
                ];
          }
        ];
      loaded = concatMap load modules;

      declare =
        left: right:
        left
        // mapAttrs (
          name: value: if left ? ${name} && !(isOption value) then declare left.${name} value else value
        ) right;
      options = foldl' (all: module: declare all module.options) { } loaded;
      freeform = filter (type: type != null) (map (module: module.freeformType) loaded);

      value =
        path: option: definitions:
        if concatMap (values ordinary) definitions != [ ] then
          merged option.type path (
            definitions ++ (if option ? default then [ (mkOverride ofADefault option.default) ] else [ ])
          )
        else if option ? default then
          merged option.type path [ option.default ]
        else
          throw "The option `${showPath path}' was accessed but has no value defined. Try setting the option.";

      tree =
        path: declared: definitions:
        if isOption declared then
          value path declared definitions
        else
          let
            sets = concatMap push definitions;
            named = name: map (set: set.${name}) (filter (set: set ? ${name}) sets);
            unknown = filter (name: !(declared ? ${name})) (keysOf sets);
            only = set: removeAttrs set (attrNames declared);
          in
          mapAttrs (name: inner: tree (path ++ [ name ]) inner (named name)) declared
          // (
            if unknown == [ ] then
              { }
            else if freeform != [ ] && path == prefix then
              (types.attrsOf (head freeform)).merge path (map only sets)
            else
              throw "The option `${showPath (path ++ [ (head unknown) ])}' does not exist."
          );
      config = tree prefix options (map (module: module.config) loaded);
    in
    {
      inherit config options;
    };
in
{
  inherit
    mkIf
    mkMerge
    types
    ;
  mkDefault = mkOverride 1000;
  mkForce = mkOverride 50;
  mkOption = declaration: declaration // { _type = "option"; };
  evalModules = evaluate [ ];
}

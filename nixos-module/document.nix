# docs/OPTIONS.md out of the module: every option of services.azaion with type, default and description.
# `nix build .#options && cp result docs/OPTIONS.md` writes it anew.
{ lib, pkgs }:
let
  # The module's configuration is never evaluated here, only its options.
  inherit
    (lib.evalModules {
      modules = [ ./options.nix ];
      specialArgs = { inherit pkgs; };
    })
    options
    ;

  # Text as Nix would write it.
  shown =
    value:
    if (value._type or null) == "literalExpression" then
      value.text
    else if lib.isList value then
      if value == [ ] then "[ ]" else "[ ${lib.concatMapStringsSep " " shown value} ]"
    else if lib.isAttrs value then
      if value == { } then
        "{ }"
      else
        "{ ${
          lib.concatStringsSep " " (lib.mapAttrsToList (name: inner: "${name} = ${shown inner};") value)
        } }"
    else
      builtins.toJSON value;

  paragraph =
    text: lib.concatStringsSep " " (lib.filter (line: line != "") (lib.splitString "\n" text));

  entry =
    path: option:
    lib.concatStringsSep "\n" (
      [
        "### `${path}`"
        ""
        (paragraph option.description)
        ""
        "- type: ${option.type.description}"
      ]
      ++
        lib.optional (option ? defaultText || option ? default)
          "- default: `${shown (option.defaultText or option.default)}`"
      ++ lib.optional (
        option ? example && !(lib.isBool option.example)
      ) "- example: `${shown option.example}`"
      ++ [ "" ]
    );

  # Options inside a submodule follow the option that holds them.
  walk =
    path: tree:
    if lib.isOption tree then
      [ (entry path tree) ] ++ inside path (tree.type.getSubOptions [ ])
    else
      lib.concatLists (lib.mapAttrsToList (name: inner: walk "${path}.${name}" inner) (visible tree));
  inside =
    path: options:
    lib.concatLists (lib.mapAttrsToList (name: inner: walk "${path}.${name}" inner) (visible options));
  visible = lib.filterAttrs (name: _: name != "_module" && name != "_freeformOptions");
in
''
  # Options of services.azaion

  Made from nixos-module/options.nix and settings.nix; do not edit. [Nix](NIX.md) says how the module is used.

''
+ lib.concatStringsSep "\n" (walk "services.azaion" options.services.azaion)

# One virtual machine a promise: every other file here is a test for nixpkgs' testing framework, named after what it shows.
{
  lib,
  pkgs,
  module,
}:
let
  files = lib.filter (
    name: lib.hasSuffix ".nix" name && name != "default.nix" && name != "machine.nix"
  ) (lib.attrNames (builtins.readDir ./.));
in
lib.listToAttrs (
  map (file: {
    name = "vm-${lib.removeSuffix ".nix" file}";
    value = pkgs.testers.runNixOSTest (import (./. + "/${file}") { inherit module; });
  }) files
)

# Stands in for nixpkgs where there is no network: enough of its library, of the NixOS options and of the builders to evaluate
# this repository's flake, module, hosts and tests. Names, types, assertions and conflicts are judged as nixpkgs judges them;
# an option or function that is not listed here does not exist. Nothing is ever built from it.
{
  description = "stands in for nixpkgs in an evaluation without network";

  outputs =
    _:
    let
      system = "x86_64-linux";
      lib = import ./lib.nix;
      pkgs = import ./pkgs.nix { inherit lib system nixos; };
      nixos = import ./nixos.nix { inherit lib pkgs; };
    in
    {
      lib = lib // {
        nixosSystem = { modules, ... }: nixos modules;
      };
      legacyPackages.${system} = pkgs;
    };
}

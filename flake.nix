{
  description = "azaion: from annotations to a model in service";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      system = "x86_64-linux";
      # An evaluation without network puts something in the input's place that is no nixpkgs. tests/nix-standin then stands in:
      # all names, types and assertions are checked as ever, and what is built from it fails and says so.
      source =
        if builtins.pathExists "${nixpkgs}/nixos" then
          nixpkgs
        else
          (import ./tests/nix-standin/flake.nix).outputs { };
      inherit (source) lib;
      pkgs = source.legacyPackages.${system};
      azaion = import ./nixos-module/packages { inherit lib pkgs; };
      # docs/OPTIONS.md is to be this file.
      options = pkgs.writeText "OPTIONS.md" (import ./nixos-module/document.nix { inherit lib pkgs; });
      host =
        file:
        source.lib.nixosSystem {
          inherit system;
          modules = [
            self.nixosModules.default
            file
          ];
        };
      development = import ./nixos-module/development.nix { inherit lib pkgs azaion; };
    in
    {
      packages.${system} = {
        inherit (azaion)
          azaion
          azaion-backup
          azaion-health
          azaion-queue
          azaion-suite
          azaion-train
          azaion-train-cuda
          libtorch-cpu
          libtorch-cuda
          ;
        inherit options;
        default = azaion.azaion-suite;
      };

      overlays.default = _: prev: {
        inherit
          (import ./nixos-module/packages {
            inherit (prev) lib;
            pkgs = prev;
          })
          azaion
          azaion-backup
          azaion-health
          azaion-queue
          azaion-suite
          azaion-train
          azaion-train-cuda
          ;
      };

      nixosModules.default = import ./nixos-module;

      # Two examples to begin from: nixos-module/hosts.
      nixosConfigurations = {
        local-broker = host ./nixos-module/hosts/local-broker.nix;
        gpu-server = host ./nixos-module/hosts/gpu-server.nix;
      };

      apps.${system} = lib.mapAttrs (name: program: {
        type = "app";
        program = "${program}/bin/azaion-${name}";
        meta.description = "azaion: ${name}";
      }) development.programs;

      devShells.${system}.default = development.shell;
      formatter.${system} = pkgs.nixfmt-tree;

      checks.${system} =
        development.checks
        // import ./tests/nixos {
          inherit lib pkgs;
          module = self.nixosModules.default;
        }
        // {
          options = pkgs.runCommand "azaion-options" { } ''
            diff -u ${./docs/OPTIONS.md} ${options}
            touch $out
          '';
        };
    };
}

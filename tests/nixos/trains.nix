# The trainer of the package trains: annotations through a stream into a dataset, one epoch, a model in service.
{ module }:
{
  name = "azaion-trains";
  nodes.machine =
    { ... }:
    {
      imports = [ (import ./machine.nix { inherit module; }) ];
      services.azaion.train.enable = true;
    };
  testScript = ''
    machine.wait_for_unit("multi-user.target")
    machine.succeed("azaion demo --root /var/tmp/run --scenes 24 --epochs 1 --imgsz 96", timeout=900)
    machine.succeed("test -e /var/tmp/run/models/azaion.pt")
    machine.succeed("azaion detect --model /var/tmp/run/models/azaion.pt /var/tmp/run/data/images/*.jpg")
  '';
}

# A run that a loss of power has cut off goes on by itself after the boot, and one that a person has stopped does not.
{ module }:
{
  name = "azaion-resumes";
  nodes.machine =
    { ... }:
    {
      imports = [ (import ./machine.nix { inherit module; }) ];
      services.azaion.train.enable = true;
      services.azaion.settings.training = {
        model = "yolo26n";
        epochs = 1000;
        batch_size = 4;
        imgsz = 96;
        workers = 1;
      };
    };
  testScript = ''
    machine.wait_for_unit("multi-user.target")
    # The demo's annotations are a tree to train on.
    machine.succeed("azaion demo --root /var/tmp/run --scenes 24 --epochs 1 --imgsz 96", timeout=900)
    machine.succeed("cp -r /var/tmp/run/data/. /azaion/data/ && cp /var/tmp/run/classes.json /azaion/")
    machine.succeed("chown -R azaion:azaion /azaion && azaion train start")
    machine.wait_for_unit("azaion-train.service")
    machine.crash()
    machine.start()
    machine.wait_for_unit("azaion-train.service")
    machine.succeed("test $(ls -d /azaion/models/azaion-* | wc -l) = 1")

    machine.succeed("azaion train stop")
    machine.wait_until_fails("systemctl is-active azaion-train.service")
    machine.shutdown()
    machine.start()
    machine.wait_for_unit("multi-user.target")
    machine.fail("systemctl is-active azaion-train.service")
  '';
}

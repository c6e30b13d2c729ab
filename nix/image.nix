# A container image of layers: `nix build .#image && docker load < result`.
{ flavour }:
let
  inherit (flavour) pkgs venv vendor;
  env = vendor.env // {
    HOME = "/home/ttt";
    PATH = "${venv}/bin:/bin";
    SSL_CERT_FILE = "${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt";
  };
in
pkgs.dockerTools.buildLayeredImage {
  name = "ttt";
  tag = flavour.accelerator;
  contents = [
    venv
    pkgs.bashInteractive
    pkgs.coreutils
    pkgs.stdenv.cc # Triton compiles the code that launches a kernel
  ];
  fakeRootCommands = ''
    mkdir -p ./home/ttt ./tmp ./workspace
    chmod 1777 ./tmp
    chown 1000:1000 ./home/ttt ./workspace
  '';
  config = {
    User = "1000:1000";
    WorkingDir = "/workspace";
    Env = flavour.lib.mapAttrsToList (name: value: "${name}=${value}") env;
    Cmd = [
      "ttt"
      "--help"
    ];
    Healthcheck = {
      Test = [
        "CMD"
        "ttt"
        "doctor"
        "device"
      ];
      Interval = 300 * 1000000000; # nanoseconds
      Timeout = 60 * 1000000000;
    };
  };
}

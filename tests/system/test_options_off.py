"""The programs without what CMake's options add: etcd (and so clusters), MPI, PMIx, MUNGE. They build without a warning, one node
serves, and asking for what is left out is answered plainly."""

import os
import re
import subprocess

from systest import BUILD, DEADLINE_S, SOURCE, Case, clean_env, main, run


class OptionsOff(Case):
    def test_a_node_without_them(self):
        with open(os.path.join(BUILD, "CMakeCache.txt")) as f:
            cache = dict(re.findall(r"^(\w+):\w+=(.*)$", f.read(), re.M))
        build = self.path("build")
        subprocess.run([cache["CMAKE_COMMAND"], "-S", SOURCE, "-B", build, "-G", cache["CMAKE_GENERATOR"], "--log-level=WARNING",
                        "-DCMAKE_BUILD_TYPE=Debug", "-DCAIRN_WERROR=ON", "-DCAIRN_TESTS=OFF", "-DCAIRN_WITH_ETCD=OFF",
                        "-DCAIRN_WITH_MPI=OFF", "-DCAIRN_WITH_PMIX=OFF", "-DCAIRN_WITH_MUNGE=OFF",
                        "-DCMAKE_C_COMPILER=" + cache["CMAKE_C_COMPILER"]], check=True)
        # Half a minute of one core.
        subprocess.run([cache["CMAKE_COMMAND"], "--build", build, "--target", "cairnd", "cairn", "-j2"], check=True,
                       stdout=subprocess.DEVNULL)
        for program in "cairnd", "cairn":
            libraries = run("ldd", os.path.join(build, "bin", program)).out
            self.assertIn("libc.so", libraries)
            self.assertNotRegex(libraries, r"lib(curl|mpi|pmix|munge)")

        node = self.node()
        whole, cairn = node.argv, os.path.join(build, "bin", "cairn")
        node.argv = lambda *more: [os.path.join(build, "bin", "cairnd"), *whole(*more)[1:]]
        node.cairn = lambda *args, **kw: run(cairn, *args, env=clean_env(CAIRN_WORKSPACE=node.workspace), **kw)
        node.start()
        self.ok(node.cairn("ns", "create", "data"))
        self.ok(node.cairn("put", "-v", "x", "data", "k"))
        self.assertEqual(self.ok(node.cairn("get", "data", "k")).out, "x")
        self.assertEqual(node.stop(), 0)
        node.spawn("--set", "map.store=etcd", "--set", "map.endpoints=http://127.0.0.1:9")
        self.assertEqual(node.process.wait(DEADLINE_S), 1)
        self.assertIn("map: this build cannot use etcd (CAIRN_WITH_ETCD)", node.log())
        node.process = None


if __name__ == "__main__":
    main()

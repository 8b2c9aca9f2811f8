/* Hosts a node with the installed library: sdk_installed.sh builds and runs it. DATA WORKSPACE */
#include <cairn/server.h>

int main(int argc, char **argv)
{
    struct cairn_server_setting settings[] = { { "node.data", argv[1], "argument" }, { "workspace", argv[2], "argument" } };
    struct cairn_server_options o = CAIRN_SERVER_OPTIONS_INIT;
    struct cairn_server *node;
    char text[1024];

    o.settings = settings;
    o.nsettings = 2;
    if (argc != 3 || cairn_server_start(&o, &node, text, sizeof(text)) != 0) {
        fprintf(stderr, "%s\n", text);
        return 1;
    }
    puts(cairn_server_address(node, 0));
    cairn_server_free(node);
    return 0;
}

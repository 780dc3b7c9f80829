from regadmin.__main__ import main

raise SystemExit(main())
